#include "control/server.hpp"

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <boost/asio/experimental/channel.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>
#include <list>
#include <map>

#include "control/accept_loop.hpp"
#include "control/routes.hpp"
#include "host/spawn.hpp"
#include "host/text.hpp"

namespace dualdeploy::control {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace json = boost::json;
using Local = asio::local::stream_protocol;
using Stream = beast::basic_stream<Local, asio::any_io_executor>;
using boost::system::error_code;

namespace {

http::response<http::string_body> response_of(const Reply& reply, bool keep_alive) {
  http::response<http::string_body> response(static_cast<http::status>(reply.status), 11);
  response.set(http::field::server, "dualdeployd");
  response.set(http::field::content_type, "application/json");
  if (!reply.allow.empty()) response.set(http::field::allow, reply.allow);
  response.keep_alive(keep_alive);
  response.body() = reply.body;
  response.prepare_payload();
  return response;
}

/// What the client is told about a request that cannot be read; nothing if there is nobody to tell.
std::optional<Reply> reply_to_unreadable(const error_code& error, bool late, const Limits& limits) {
  if (error == http::error::header_limit) {
    return error_reply(431, Error{ErrorCode::usage, "the request header is larger than " + std::to_string(limits.header_bytes) + " bytes"});
  }
  if (error == http::error::body_limit) {
    return error_reply(413, Error{ErrorCode::usage, "the request body is larger than " + std::to_string(limits.body_bytes) + " bytes"});
  }
  if (late) {
    return error_reply(408, Error{ErrorCode::timed_out, "the request did not arrive within " + format_duration(limits.request)});
  }
  if (error == http::error::end_of_stream || error == http::error::partial_message || error == asio::error::connection_reset ||
      error == asio::error::operation_aborted) {
    return std::nullopt;
  }
  return error_reply(400, Error{ErrorCode::usage, "the request is not HTTP/1.1: " + error.message()});
}

/// Events on their way to one follower, bounded.
struct Following {
  Following(const asio::any_io_executor& executor, std::size_t limit) : queue(executor, limit) {}
  asio::experimental::channel<void(error_code, std::string)> queue;
  std::optional<std::string> service;
  bool overrun = false;

  void offer(const json::object& event) {
    if (service && host::text_of(event, "service") != *service) return;
    if (!overrun && !queue.try_send(error_code{}, host::json_text(event) + "\n")) {
      overrun = true;
      queue.close();  // What has been queued is still delivered.
    }
  }
};

}  // namespace

struct Server::Impl : std::enable_shared_from_this<Impl> {
  struct Connection {
    Connection(Local::socket socket, Peer peer_in, Permission permission_in)
        : stream(std::move(socket)), deadline(stream.get_executor()), peer(std::move(peer_in)), permission(permission_in) {}
    Stream stream;
    asio::steady_timer deadline;  ///< Of the request being read. The stream's own would close it without a word.
    bool late = false;
    Peer peer;
    Permission permission;  ///< When it was accepted; each request is decided anew.
    beast::flat_buffer buffer;
  };
  using ConnectionPtr = std::shared_ptr<Connection>;

  Impl(asio::any_io_executor executor_in, Api& api_in, Limits limits_in, Access access_in)
      : executor(std::move(executor_in)), api(api_in), limits(limits_in), access(std::move(access_in)) {}

  // ---- Accepting -------------------------------------------------------------------------------------------------

  void welcome(Local::socket socket) {
    auto peer = peer_of(socket.native_handle());
    if (!peer) return;
    const Permission permission = permission_of(*peer, access);
    if (is_one_too_many(*peer, permission)) {
      turn_away(socket);
      return;
    }
    const auto connection = std::make_shared<Connection>(std::move(socket), std::move(*peer), permission);
    connections.push_back(connection);
    host::spawn(executor, "control connection", serve(shared_from_this(), connection));
  }

  /// All who may not even look share what one user has: one person can have thousands of user ids (subuid(5)). Who may
  /// change stands behind none of the others.
  [[nodiscard]] bool is_one_too_many(const Peer& peer, Permission permission) const {
    if (peer.actor.uid == 0) return false;
    const auto alike = std::ranges::count_if(connections, [&](const ConnectionPtr& other) {
      const bool strangers = permission == Permission::nothing && other->permission == Permission::nothing;
      return strangers || other->peer.actor.uid == peer.actor.uid;
    });
    if (static_cast<std::size_t>(alike) >= limits.connections_per_user) return true;
    return permission != Permission::change && connections.size() >= limits.connections;
  }

  static void turn_away(Local::socket& socket) {
    http::response<http::string_body> response = response_of(
        error_reply(503, Error{ErrorCode::unreachable, "too many connections to the agent; try again in a moment"}), false);
    error_code ignored;
    socket.non_blocking(true, ignored);
    http::write(socket, response, ignored);  // It fits into the empty socket buffer.
  }

  // ---- Serving ---------------------------------------------------------------------------------------------------

  static asio::awaitable<void> serve(std::shared_ptr<Impl> self, ConnectionPtr connection) {
    bool more = true;
    bool first = true;
    while (more && !self->stopped) {
      more = co_await self->serve_one(connection, std::exchange(first, false));
    }
    error_code ignored;
    connection->stream.socket().shutdown(Local::socket::shutdown_both, ignored);
    connection->stream.close();
    std::erase(self->connections, connection);
  }

  asio::awaitable<bool> serve_one(ConnectionPtr connection, bool first) {
    http::request_parser<http::string_body> parser;
    parser.header_limit(static_cast<std::uint32_t>(limits.header_bytes));
    parser.body_limit(limits.body_bytes);
    error_code error;
    if (!first && connection->buffer.size() == 0) {  // Idle: wait for the first byte.
      connection->stream.expires_after(limits.idle);
      co_await http::async_read_some(connection->stream, connection->buffer, parser, asio::redirect_error(asio::use_awaitable, error));
      if (error == beast::error::timeout) co_return false;
    }
    connection->stream.expires_never();
    if (!error && !parser.is_done()) {
      set_deadline(connection);
      co_await http::async_read(connection->stream, connection->buffer, parser, asio::redirect_error(asio::use_awaitable, error));
      connection->deadline.cancel();
    }
    if (error) {
      if (auto reply = reply_to_unreadable(error, connection->late, limits)) {
        co_await send(connection, *reply, false);
        co_await let_it_read(connection);
      }
      co_return false;
    }
    auto request = parser.release();
    const bool keep_alive = request.keep_alive();
    auto target = parse_target(std::string_view(request.target().data(), request.target().size()));
    if (!target) co_return co_await send(connection, error_reply(target.error()), keep_alive);
    Question question{std::string(request.method_string()), std::move(*target), std::move(request.body()), connection->peer};
    if (asks_for_events(question)) co_return co_await send_events(connection, std::move(question));
    // However long it takes: the change goes on even if the client leaves.
    connection->stream.expires_never();
    const Reply reply = co_await answer(api, access, std::move(question));
    co_return co_await send(connection, reply, keep_alive);
  }

  void set_deadline(const ConnectionPtr& connection) const {
    connection->deadline.expires_after(limits.request);
    connection->deadline.async_wait([weak = std::weak_ptr(connection)](const error_code& error) {
      const auto slow = weak.lock();
      if (error || !slow) return;
      slow->late = true;
      slow->stream.cancel();
    });
  }

  /// Closing with unread bytes resets the connection, and the client would never see why: they are read for a moment.
  asio::awaitable<void> let_it_read(ConnectionPtr connection) {
    error_code error;
    connection->stream.socket().shutdown(Local::socket::shutdown_send, error);
    connection->stream.expires_after(Milliseconds{1'000});
    std::array<char, 16 * 1024> dropped{};
    constexpr int most_reads = 128;
    for (int i = 0; i < most_reads && !error; ++i) {
      co_await connection->stream.async_read_some(asio::buffer(dropped), asio::redirect_error(asio::use_awaitable, error));
    }
  }

  asio::awaitable<bool> send(ConnectionPtr connection, Reply reply, bool keep_alive) {
    http::response<http::string_body> response = response_of(reply, keep_alive);
    connection->stream.expires_after(limits.write);
    error_code error;
    co_await http::async_write(connection->stream, response, asio::redirect_error(asio::use_awaitable, error));
    co_return !error && keep_alive;
  }

  // ---- Events ----------------------------------------------------------------------------------------------------

  asio::awaitable<bool> send_events(ConnectionPtr connection, Question question) {
    if (auto error = forbidden(question.peer, access, false)) co_return co_await send(connection, error_reply(403, *error), false);
    if (question.method != "GET") {
      Reply reply = error_reply(405, Error{ErrorCode::usage, "this takes GET"});
      reply.allow = "GET";
      co_return co_await send(connection, std::move(reply), false);
    }
    constexpr std::size_t usual = 10;
    constexpr std::size_t most = 5'000;
    auto last = number_in_query(question.target, "last", usual, most);
    if (!last) co_return co_await send(connection, error_reply(last.error()), false);
    std::optional<std::string> service;
    if (const auto named = question.target.query.find("service"); named != question.target.query.end()) service = named->second;
    const auto follow = question.target.query.find("follow");
    const bool goes_on = follow != question.target.query.end() && follow->second != "0";

    const auto following = std::make_shared<Following>(executor, limits.follow_events);
    following->service = service;
    // Subscribed before the past is read: nothing is missed between the two.
    const std::shared_ptr<void> subscription =
        goes_on ? api.subscribe([following](const json::object& event) { following->offer(event); }) : nullptr;
    auto past = api.history(service, *last, false);
    std::string text;
    if (past) {
      for (const json::object& event : *past) text += host::json_text(event) + "\n";
    }

    http::response<http::empty_body> response(http::status::ok, 11);
    response.set(http::field::server, "dualdeployd");
    response.set(http::field::content_type, "application/x-ndjson");
    response.chunked(true);
    http::response_serializer<http::empty_body> serializer(response);
    connection->stream.expires_after(limits.write);
    error_code error;
    co_await http::async_write_header(connection->stream, serializer, asio::redirect_error(asio::use_awaitable, error));
    if (!error && !text.empty()) co_await write_chunk(connection, text, error);
    if (goes_on && !error) co_await write_as_they_come(connection, following, error);
    if (!error) {
      connection->stream.expires_after(limits.write);
      co_await asio::async_write(connection->stream, http::make_chunk_last(), asio::redirect_error(asio::use_awaitable, error));
    }
    co_return false;
  }

  asio::awaitable<void> write_chunk(ConnectionPtr connection, const std::string& text, error_code& error) {
    connection->stream.expires_after(limits.write);
    co_await asio::async_write(connection->stream, http::make_chunk(asio::buffer(text)),
                               asio::redirect_error(asio::use_awaitable, error));
  }

  asio::awaitable<void> write_as_they_come(ConnectionPtr connection, std::shared_ptr<Following> following, error_code& error) {
    host::spawn(executor, "event follower", notice_leaving(connection, following));
    while (!error && !stopped) {
      error_code closed;
      const std::string event = co_await following->queue.async_receive(asio::redirect_error(asio::use_awaitable, closed));
      if (closed) break;
      co_await write_chunk(connection, event, error);
    }
    if (error || !following->overrun) co_return;
    const Reply reply = error_reply(Error{ErrorCode::failed, "events came faster than they were read; some are missing from here on"});
    co_await write_chunk(connection, reply.body, error);
  }

  /// A follower sends nothing more: what can be read is its leaving.
  static asio::awaitable<void> notice_leaving(ConnectionPtr connection, std::shared_ptr<Following> following) {
    error_code error;
    for (bool there = true; there && !error;) {
      co_await connection->stream.socket().async_wait(Local::socket::wait_read, asio::redirect_error(asio::use_awaitable, error));
      if (error) break;
      // A wait may end for nothing.
      char byte = 0;
      there = ::recv(connection->stream.socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
    }
    following->queue.close();
  }

  asio::any_io_executor executor;
  Api& api;
  Limits limits;
  Access access;
  bool stopped = false;
  std::list<std::shared_ptr<Local::acceptor>> acceptors;
  std::list<ConnectionPtr> connections;
};

Server::Server(asio::any_io_executor executor, Api& api, Limits limits, Access access)
    : impl_(std::make_shared<Impl>(std::move(executor), api, limits, std::move(access))) {}

Server::~Server() { stop(); }

Expected<void> Server::listen(const std::filesystem::path& path) {
  error_code error;
  std::filesystem::create_directories(path.parent_path());
  Local::socket knock(impl_->executor);
  knock.connect(Local::endpoint(path.string()), error);
  if (!error) return fail("somebody answers on " + path.string() + " already; is another agent running?");
  struct stat found {};
  if (::lstat(path.c_str(), &found) == 0) {
    if (!S_ISSOCK(found.st_mode)) return fail(path.string() + " is there and is no socket");
    ::unlink(path.c_str());
  }
  auto acceptor = std::make_shared<Local::acceptor>(impl_->executor);
  acceptor->open(Local(), error);
  if (!error) acceptor->bind(Local::endpoint(path.string()), error);
  if (!error) acceptor->listen(asio::socket_base::max_listen_connections, error);
  if (error) return fail(path.string() + ": " + error.message());
  constexpr mode_t everybody = 0666;  // The peer's credentials decide, not the mode.
  ::chmod(path.c_str(), everybody);
  impl_->acceptors.push_back(acceptor);
  host::spawn(impl_->executor, "control socket", accept_loop(impl_, acceptor));
  return {};
}

void Server::adopt(int socket) {
  auto acceptor = std::make_shared<Local::acceptor>(impl_->executor);
  error_code error;
  acceptor->assign(Local(), socket, error);
  if (error) {
    spdlog::error("the socket that systemd passed cannot be used: {}", error.message());
    return;
  }
  impl_->acceptors.push_back(acceptor);
  host::spawn(impl_->executor, "control socket", accept_loop(impl_, acceptor));
}

void Server::stop() {
  if (std::exchange(impl_->stopped, true)) return;
  for (const auto& acceptor : impl_->acceptors) {
    error_code ignored;
    acceptor->close(ignored);
  }
  for (const auto& connection : impl_->connections) {
    connection->deadline.cancel();
    connection->stream.close();
  }
}

}  // namespace dualdeploy::control
