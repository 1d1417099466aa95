#include "helper/server.hpp"

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/channel.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/write.hpp>
#include <boost/json.hpp>
#include <csignal>
#include <cstdlib>

#include "control/accept_loop.hpp"
#include "control/peer.hpp"
#include "host/helper.hpp"
#include "host/logging.hpp"
#include "host/notify.hpp"
#include "host/spawn.hpp"
#include "traffic/listeners.hpp"

namespace dualdeploy::helper {

namespace asio = boost::asio;
namespace json = boost::json;
namespace message = host::helper_message;
using Local = asio::local::stream_protocol;
using boost::system::error_code;
using host::CommandResult;

namespace {

constexpr Milliseconds request_deadline{5'000};

struct Connection {
  explicit Connection(Local::socket socket_in) : socket(std::move(socket_in)), deadline(socket.get_executor()) {}
  Local::socket socket;
  asio::steady_timer deadline;  ///< Of the request.
  asio::cancellation_signal caller_gone;
};
using ConnectionPtr = std::shared_ptr<Connection>;

/// The caller sends nothing more: what can be read is its leaving.
asio::awaitable<void> notice_leaving(ConnectionPtr connection) {
  error_code error;
  for (bool there = true; there && !error;) {
    co_await connection->socket.async_wait(Local::socket::wait_read, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;  // The answer has been sent.
    char byte = 0;
    there = ::recv(connection->socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
  }
  connection->caller_gone.emit(asio::cancellation_type::terminal);
}

asio::awaitable<Expected<CommandResult>> run_while_wanted(ConnectionPtr connection, message::Run what) {
  using Done = asio::experimental::channel<void(error_code, Expected<CommandResult>)>;
  const auto executor = co_await asio::this_coro::executor;
  const auto done = std::make_shared<Done>(executor, 1);
  const auto finished = [done](const std::exception_ptr& broken_off, Expected<CommandResult> result) {
    done->try_send(error_code{}, broken_off ? Expected<CommandResult>(fail("broken off")) : std::move(result));
  };
  asio::co_spawn(executor, host::run_command(std::move(what.command), what.limits),
                 asio::bind_cancellation_slot(connection->caller_gone.slot(), finished));
  host::spawn(executor, "helper's caller", notice_leaving(connection));
  co_return co_await done->async_receive(asio::use_awaitable);
}

json::object holders(const json::object& request) {
  const auto number = [&request](std::string_view name) {
    const json::value* value = request.if_contains(name);
    return value != nullptr && value->is_int64() ? value->get_int64() : 0;
  };
  const traffic::Holders found =
      traffic::holders_seen_from_here(static_cast<std::uint32_t>(number("inode")), static_cast<pid_t>(number("pid")));
  return json::object{{"any", found.any}, {"stranger", found.stranger}};
}

asio::awaitable<json::object> answer(ConnectionPtr connection, json::object request) {
  const json::value* run = request.if_contains("run");
  if (run != nullptr && run->is_object()) {
    message::Run what = message::run_in(run->get_object());
    const Expected<CommandResult> result = co_await run_while_wanted(connection, std::move(what));
    co_return message::of(result);
  }
  const json::value* whose = request.if_contains("holders");
  if (whose != nullptr && whose->is_object()) co_return holders(whose->get_object());
  co_return json::object{{"error", json::object{{"code", 2}, {"message", "expected 'run' or 'holders'"}}}};
}

asio::awaitable<void> serve(ConnectionPtr connection) {
  connection->deadline.expires_after(request_deadline);
  connection->deadline.async_wait([weak = std::weak_ptr(connection)](const error_code& cancelled) {
    const auto slow = weak.lock();
    error_code ignored;
    if (!cancelled && slow) slow->socket.close(ignored);
  });
  std::string line;
  error_code error;
  co_await asio::async_read_until(connection->socket, asio::dynamic_buffer(line, message::limit_bytes), '\n',
                                  asio::redirect_error(asio::use_awaitable, error));
  connection->deadline.cancel();
  if (error) co_return;
  auto request = message::parse(line);
  if (!request) {
    spdlog::warn("{}", request.error().message);
    co_return;
  }
  const json::object reply = co_await answer(connection, std::move(*request));
  const std::string text = json::serialize(reply) + "\n";
  co_await asio::async_write(connection->socket, asio::buffer(text), asio::redirect_error(asio::use_awaitable, error));
  connection->socket.close(error);
}

}  // namespace

struct Server::Impl : std::enable_shared_from_this<Impl> {
  explicit Impl(asio::any_io_executor executor_in)
      : executor(std::move(executor_in)), acceptor(std::make_shared<Local::acceptor>(executor)) {}

  void welcome(Local::socket socket) {
    const auto peer = control::peer_of(socket.native_handle());
    // The socket's mode says so too; whoever is handed a descriptor of it is not trusted for that.
    if (!peer || peer->actor.uid != static_cast<std::int64_t>(::geteuid())) {
      spdlog::warn("turned away: {}", peer ? "user " + peer->actor.user : peer.error().message);
      return;
    }
    host::spawn(executor, "helper connection", serve(std::make_shared<Connection>(std::move(socket))));
  }

  asio::any_io_executor executor;
  std::shared_ptr<Local::acceptor> acceptor;
  bool stopped = false;
};

Server::Server(const asio::any_io_executor& executor, int listening_socket) : impl_(std::make_shared<Impl>(executor)) {
  error_code error;
  impl_->acceptor->assign(Local(), listening_socket, error);
  if (error) {
    spdlog::error("the helper's socket cannot be used: {}", error.message());
    return;
  }
  host::spawn(executor, "helper", control::accept_loop(impl_, impl_->acceptor));
}

Server::~Server() {
  impl_->stopped = true;
  error_code ignored;
  impl_->acceptor->close(ignored);
}

int run() {
  host::start_logging("info");
  const std::vector<int> sockets = host::passed_sockets();
  if (sockets.empty()) {
    spdlog::error("the helper is started by dualdeploy-helper.socket, which passes it its socket");
    return EXIT_FAILURE;
  }
  asio::io_context loop(1);
  const auto executor = loop.get_executor();
  std::vector<std::unique_ptr<Server>> servers;
  for (const int socket : sockets) servers.push_back(std::make_unique<Server>(executor, socket));
  asio::signal_set signals(loop, SIGTERM, SIGINT);
  signals.async_wait([&loop](const error_code&, int) { loop.stop(); });
  loop.run();
  return EXIT_SUCCESS;
}

}  // namespace dualdeploy::helper
