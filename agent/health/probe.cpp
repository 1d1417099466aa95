#include "health/probe.hpp"

#include <pwd.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <cerrno>

#include "host/helper.hpp"

namespace dualdeploy::health {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::size_t excerpt_limit = 200;
constexpr std::size_t body_limit = 64 * 1024;  ///< Of the body, no more than this is looked at.
constexpr std::size_t chunk_size = 8 * 1024;
constexpr std::uint32_t header_limit = 16 * 1024;

/// The first bytes, fit for a terminal and a log line.
std::string excerpt_of(std::string_view text) {
  std::string excerpt(text.substr(0, excerpt_limit));
  for (char& c : excerpt) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == '\n' || byte == '\r' || byte == '\t') c = ' ';
    if (byte < ' ' || byte >= 0x7f) c = c == ' ' ? ' ' : '?';
  }
  while (!excerpt.empty() && excerpt.back() == ' ') excerpt.pop_back();
  return excerpt;
}

std::optional<ProbeFailure> failed(std::string reason, std::string_view excerpt = {}) {
  return ProbeFailure{std::move(reason), excerpt_of(excerpt)};
}

/// The agent itself had not what it takes.
std::optional<ProbeFailure> not_made(std::string reason) {
  return ProbeFailure{.reason = std::move(reason), .excerpt = "", .inconclusive = true};
}

std::string no_answer(const config::Check& check, std::string_view stage) {
  return "no answer within " + format_duration(check.timeout) + " (" + std::string(stage) + ")";
}

/// Without CAP_NET_ADMIN the probe still works; it is only redirected as a client's would be.
void set_mark(beast::tcp_stream& stream, std::uint32_t mark) {
  if (mark == 0 || ::setsockopt(stream.socket().native_handle(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0) return;
  static bool told = false;
  if (!std::exchange(told, true)) {
    spdlog::warn("health checks cannot be marked ({}): a check of the RPM on its front port follows the redirect",
                 error_code(errno, boost::system::system_category()).message());
  }
}

/// Nothing is left of a check when it is over: no port in TIME_WAIT, and no entry for two minutes in the table of tracked
/// connections, which the checks of a thousand services would fill. HAProxy's checks end likewise.
void end_with_reset(beast::tcp_stream& stream) {
  error_code ignored;
  stream.socket().set_option(asio::socket_base::linger(true, 0), ignored);
}

std::string connect_reason(const config::Check& check, const tcp::endpoint& target, const error_code& error) {
  const std::string where = (target.address().is_v6() ? "[" + target.address().to_string() + "]" : target.address().to_string()) +
                            ":" + std::to_string(target.port());
  if (error == beast::error::timeout) return no_answer(check, where + " does not accept the connection");
  if (error == asio::error::connection_refused) return "connection refused by " + where;
  return "cannot connect to " + where + ": " + error.message();
}

asio::awaitable<std::optional<ProbeFailure>> connect(beast::tcp_stream& stream, const config::Check& check,
                                                     const std::string& address, std::uint16_t port,
                                                     ProbeIdentity identity) {
  error_code error;
  const auto literal = asio::ip::make_address(address, error);
  if (error) co_return failed("'" + address + "' is no address");
  const tcp::endpoint target(literal, port);
  stream.socket().open(target.protocol(), error);
  if (error && is_exhaustion(error.value())) co_return not_made("cannot open a socket: " + error.message());
  if (error) co_return failed("cannot open a socket: " + error.message());
  set_mark(stream, identity.mark);
  end_with_reset(stream);
  stream.expires_after(check.timeout);
  co_await stream.async_connect(target, asio::redirect_error(asio::use_awaitable, error));
  if (error == boost::system::errc::address_not_available) co_return not_made(connect_reason(check, target, error));
  if (error) co_return failed(connect_reason(check, target, error));
  co_return std::nullopt;
}

bool status_accepted(const config::HttpCheck& check, unsigned status) {
  if (check.status.empty()) return status >= 200 && status < 400;
  return std::ranges::find(check.status, static_cast<int>(status)) != check.status.end();
}

std::string expected_status(const config::HttpCheck& check) {
  if (check.status.empty()) return "200 to 399";
  std::string text;
  for (const int status : check.status) text += (text.empty() ? "" : " or ") + std::to_string(status);
  return text;
}

std::string read_reason(const config::Check& check, const error_code& error) {
  if (error == beast::error::timeout) return no_answer(check, "connected, but no complete response");
  if (error == http::error::end_of_stream || error == asio::error::eof || error == http::error::partial_message ||
      error == asio::error::connection_reset || error == asio::error::broken_pipe) {
    return "connection closed before a complete response";
  }
  if (error.category() == http::make_error_code(http::error::bad_version).category()) return "not HTTP: " + error.message();
  return error.message();
}

asio::awaitable<std::optional<ProbeFailure>> probe_http(const config::Check& check, const config::HttpCheck& how,
                                                        std::uint16_t port, ProbeIdentity identity) {
  beast::tcp_stream stream(co_await asio::this_coro::executor);
  if (auto failure = co_await connect(stream, check, how.address, port, identity)) co_return failure;

  http::request<http::empty_body> request(http::verb::get, how.path, 11);
  request.set(http::field::host, how.host);
  request.set(http::field::user_agent, "dualdeploy-check/1");
  request.set(http::field::connection, "close");
  error_code error;
  co_await http::async_write(stream, request, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return failed(read_reason(check, error));

  beast::flat_buffer buffer(header_limit + chunk_size);
  http::response_parser<http::buffer_body> parser;
  parser.header_limit(header_limit);
  parser.body_limit(boost::none);  // Read only as far as needed, below.
  co_await http::async_read_header(stream, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return failed(read_reason(check, error));
  std::string body;
  std::vector<char> chunk(chunk_size);
  while (!parser.is_done() && body.size() < body_limit) {
    parser.get().body().data = chunk.data();
    parser.get().body().size = chunk.size();
    co_await http::async_read(stream, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
    body.append(chunk.data(), chunk.size() - parser.get().body().size);
    if (error && error != http::error::need_buffer) co_return failed(read_reason(check, error), body);
  }

  const auto& response = parser.get();
  if (!status_accepted(how, response.result_int())) {
    co_return failed("HTTP status " + std::to_string(response.result_int()) + ", expected " + expected_status(how),
                     body);
  }
  if (!how.contains.empty() && body.find(how.contains) == std::string::npos) {
    co_return failed("the body does not contain '" + how.contains + "'", body);
  }
  co_return std::nullopt;
}

asio::awaitable<std::optional<ProbeFailure>> probe_tcp(const config::Check& check, const config::TcpCheck& how,
                                                       std::uint16_t port, ProbeIdentity identity) {
  beast::tcp_stream stream(co_await asio::this_coro::executor);
  co_return co_await connect(stream, check, how.address, port, identity);
}

struct Account {
  uid_t uid;
  gid_t gid;
};

std::optional<Account> account_of(const std::string& user) {
  passwd entry{};
  passwd* found = nullptr;
  std::vector<char> buffer(16 * 1024);
  if (::getpwnam_r(user.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) return std::nullopt;
  return Account{entry.pw_uid, entry.pw_gid};
}

asio::awaitable<std::optional<ProbeFailure>> probe_exec(const config::Check& check, const config::ExecCheck& how,
                                                        std::uint16_t port, ProbeIdentity identity) {
  host::Command command;
  command.argv = how.command;
  command.environment.push_back("DUALDEPLOY_PORT=" + std::to_string(port));
  command.gid = identity.group;
  if (!how.user.empty()) {
    const auto account = account_of(how.user);
    if (!account) co_return failed("there is no user '" + how.user + "'");
    command.uid = account->uid;
    if (!command.gid) command.gid = account->gid;  // Never root's group.
  }
  host::CommandLimits limits;
  limits.deadline = check.timeout;
  auto result = co_await host::run_configured(std::move(command), limits);
  if (!result && is_exhaustion(result.error().system_error)) co_return not_made(std::move(result.error().message));
  if (!result) co_return failed(result.error().message);
  if (result->exit_status == 0) co_return std::nullopt;
  co_return failed("exit status " + std::to_string(result->exit_status),
                   result->error.empty() ? result->output : result->error);
}

}  // namespace

asio::awaitable<std::optional<ProbeFailure>> probe(config::Check check, std::uint16_t default_port,
                                                   ProbeIdentity identity) {
  if (const auto* how = std::get_if<config::HttpCheck>(&check.probe)) {
    co_return co_await probe_http(check, *how, how->port != 0 ? how->port : default_port, identity);
  }
  if (const auto* how = std::get_if<config::TcpCheck>(&check.probe)) {
    co_return co_await probe_tcp(check, *how, how->port != 0 ? how->port : default_port, identity);
  }
  co_return co_await probe_exec(check, std::get<config::ExecCheck>(check.probe), default_port, identity);
}

}  // namespace dualdeploy::health
