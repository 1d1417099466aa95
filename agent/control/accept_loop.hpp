#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>

#include "core/time.hpp"

namespace dualdeploy::control {

/// Accepts for a server until it is `stopped`; each connection is given to its welcome(socket).
template <class Server, class Acceptor>
boost::asio::awaitable<void> accept_loop(std::shared_ptr<Server> server, std::shared_ptr<Acceptor> acceptor) {
  constexpr Milliseconds pause_after_error{100};
  boost::system::error_code error;
  while (!server->stopped) {
    auto socket = co_await acceptor->async_accept(boost::asio::redirect_error(boost::asio::use_awaitable, error));
    if (server->stopped) break;
    if (error) {  // No file descriptors left, for example: not a busy loop.
      boost::asio::steady_timer pause(acceptor->get_executor(), pause_after_error);
      boost::system::error_code ignored;
      co_await pause.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
      continue;
    }
    server->welcome(std::move(socket));
  }
}

}  // namespace dualdeploy::control
