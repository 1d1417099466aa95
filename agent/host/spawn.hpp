#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <string_view>

namespace dualdeploy::host {

/// Starts a coroutine whose end nobody waits for. An exception that leaves it is a bug: it is logged with `what` and
/// ends the process, so that systemd starts a sane one; the kernel goes on serving meanwhile.
void spawn(const boost::asio::any_io_executor& executor, std::string_view what, boost::asio::awaitable<void> task);

}  // namespace dualdeploy::host
