// A small HTTP service to show and test dual deployment with: it says which side it is, can be slow, and can
// be made sick or hang on demand. One source for the RPM and for the container image.

#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr const char* revision = SAMPLE_REVISION;
constexpr std::size_t line_limit_bytes = 64 * 1024;
constexpr unsigned long longest_slow_ms = 60'000;
constexpr unsigned long most_bytes = 64UL * 1024 * 1024;
// From SIGTERM to the end, whatever clients do; the limit is 5 s.
constexpr auto grace = std::chrono::milliseconds(4'000);
// For a new connection's first request, which may be on its way at SIGTERM.
constexpr auto first_request_grace = std::chrono::milliseconds(500);

using Request = http::request<http::string_body>;
using Response = http::response<http::string_body>;

/// A client. There are no deadlines: it may stay as long as it likes, as tests of draining do.
struct Connection {
  explicit Connection(tcp::socket socket_in) : socket(std::move(socket_in)) {}
  tcp::socket socket;
  beast::flat_buffer buffer;
  bool idle = true;       // Nothing of a request has come yet.
  bool answered = false;  // At least once.
};
using ConnectionPtr = std::shared_ptr<Connection>;

struct Service {
  asio::io_context loop{1};
  std::string side = "rpm";
  bool sick = false;
  bool hanging = false;
  bool stopping = false;
  asio::steady_timer hang_end{loop, asio::steady_timer::time_point::max()};  // Only ever cancelled.
  std::vector<std::unique_ptr<tcp::acceptor>> acceptors;
  std::set<ConnectionPtr> connections;
};

auto into(error_code& error) {
  return asio::redirect_error(asio::use_awaitable, error);
}

std::string_view target_of(const Request& request) {
  return {request.target().data(), request.target().size()};
}

std::string_view path_of(const Request& request) {
  return target_of(request).substr(0, target_of(request).find('?'));
}

/// The value of NAME=VALUE in the query, or nothing.
std::optional<std::string_view> parameter(const Request& request, std::string_view name) {
  std::string_view rest = target_of(request).substr(path_of(request).size());
  while (!rest.empty()) {
    rest.remove_prefix(1);  // '?' or '&'
    const std::string_view pair = rest.substr(0, rest.find('&'));
    if (pair.starts_with(name) && pair.substr(name.size()).starts_with('='))
      return pair.substr(name.size() + 1);
    rest.remove_prefix(pair.size());
  }
  return std::nullopt;
}

/// All of the text as a number up to `most`, or nothing.
std::optional<unsigned long> number(std::string_view text, unsigned long most) {
  unsigned long value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value > most) return std::nullopt;
  return value;
}

Response respond(const Service& service, const Request& request, http::status status, std::string body) {
  Response response(status, request.version());
  response.set("X-Side", service.side);
  response.set("X-Revision", revision);
  response.set(http::field::content_type, body.starts_with('{') ? "application/json" : "text/plain");
  response.keep_alive(request.keep_alive() && !service.stopping);
  response.content_length(body.size());
  if (request.method() != http::verb::head) response.body() = std::move(body);
  return response;
}

/// The methods of a path, as for the header Allow, or nothing for an unknown path.
std::optional<std::string_view> methods_of(std::string_view path) {
  if (path == "/switch") return "POST";
  if (path == "/stream") return "GET";
  for (const std::string_view known : {"/", "/healthz", "/version", "/slow", "/bytes"}) {
    if (path == known) return "GET, HEAD";
  }
  return std::nullopt;
}

/// What a request is refused with before its path looks at it, or nothing.
std::optional<Response> refuse(const Service& service, const Request& request) {
  const auto methods = methods_of(path_of(request));
  if (!methods) return respond(service, request, http::status::not_found, "no such path\n");
  const http::verb method = request.method();
  const bool allowed = *methods == "POST"
                           ? method == http::verb::post
                           : method == http::verb::get || (method == http::verb::head && *methods != "GET");
  if (allowed) return std::nullopt;
  Response response =
      respond(service, request, http::status::method_not_allowed, std::string(*methods) + ", please\n");
  response.set(http::field::allow, *methods);
  return response;
}

/// POST /switch?state=well|sick|hang|exit
Response turn_switch(Service& service, const Request& request) {
  const std::string_view state = parameter(request, "state").value_or("");
  if (state == "exit") ::_exit(1);
  if (state != "well" && state != "sick" && state != "hang") {
    return respond(service, request, http::status::bad_request, "state=well, sick, hang or exit\n");
  }
  service.sick = state == "sick";
  service.hanging = state == "hang";
  return respond(service, request, http::status::ok, std::string(state) + "\n");
}

Response answer(Service& service, const Request& request) {
  const std::string_view path = path_of(request);
  if (path == "/") return respond(service, request, http::status::ok, "hello from " + service.side + "\n");
  if (path == "/healthz") {
    return service.sick ? respond(service, request, http::status::service_unavailable, "sick\n")
                        : respond(service, request, http::status::ok, "ok\n");
  }
  if (path == "/version") {
    return respond(service, request, http::status::ok,
                   std::string("{\"revision\":\"") + revision + "\",\"side\":\"" + service.side +
                       "\",\"pid\":" + std::to_string(::getpid()) + "}\n");
  }
  if (path == "/bytes") {
    const auto count = number(parameter(request, "n").value_or("1024"), most_bytes);
    if (!count)
      return respond(service, request, http::status::bad_request,
                     "n=0 to " + std::to_string(most_bytes) + "\n");
    return respond(service, request, http::status::ok, std::string(*count, 'x'));
  }
  return turn_switch(service, request);  // refuse() lets no other path through.
}

/// Whether what came is no HTTP, rather than the connection at its end.
bool malformed(const error_code& error) {
  return error.category() == http::make_error_code(http::error::bad_method).category() &&
         error != http::error::end_of_stream && error != http::error::partial_message;
}

asio::awaitable<void> while_hanging(Service& service) {
  error_code cancelled;
  while (service.hanging) co_await service.hang_end.async_wait(into(cancelled));
}

/// GET /slow?ms=N
asio::awaitable<Response> answer_slowly(Service& service, const Request& request) {
  const auto pause_ms = number(parameter(request, "ms").value_or("1000"), longest_slow_ms);
  if (!pause_ms) {
    co_return respond(service, request, http::status::bad_request,
                      "ms=0 to " + std::to_string(longest_slow_ms) + "\n");
  }
  error_code error;
  asio::steady_timer timer(service.loop, std::chrono::milliseconds(*pause_ms));
  co_await timer.async_wait(into(error));
  co_await while_hanging(service);
  co_return respond(service, request, http::status::ok, "slow but sure\n");
}

/// A long connection, as a websocket is one: every line comes back with the side's name, until the peer
/// leaves.
asio::awaitable<void> echo_lines(Service& service, ConnectionPtr connection) {
  error_code error;
  const std::string switched =
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Side: " + service.side +
      "\r\nX-Revision: " + revision + "\r\n\r\n";
  co_await asio::async_write(connection->socket, asio::buffer(switched), into(error));
  std::string lines(static_cast<const char*>(connection->buffer.data().data()), connection->buffer.size());
  while (!error) {
    const std::size_t length = co_await asio::async_read_until(
        connection->socket, asio::dynamic_buffer(lines, line_limit_bytes), '\n', into(error));
    if (error) break;
    co_await while_hanging(service);
    const std::string reply = service.side + ": " + lines.substr(0, length);
    lines.erase(0, length);
    co_await asio::async_write(connection->socket, asio::buffer(reply), into(error));
  }
}

/// Ends a connection that waits for a request. Only our reading end: what has already arrived is still read
/// and answered, and a connection without anything sees the end of its stream.
void end_idle(Connection& connection) {
  error_code ignored;
  if (connection.idle) connection.socket.shutdown(tcp::socket::shutdown_receive, ignored);
}

asio::awaitable<void> serve(Service& service, ConnectionPtr connection) {
  error_code error;
  bool more = true;
  while (more && !error) {
    if (connection->buffer.size() == 0) {
      connection->idle = true;
      constexpr std::size_t first_bytes = 4'096;
      const auto space = connection->buffer.prepare(first_bytes);
      const std::size_t length = co_await connection->socket.async_read_some(space, into(error));
      if (error) break;
      connection->buffer.commit(length);
      connection->idle = false;
    }
    Request request;
    co_await http::async_read(connection->socket, connection->buffer, request, into(error));
    if (malformed(error)) {
      co_await while_hanging(service);
      Response response = respond(service, request, http::status::bad_request, "no HTTP request\n");
      response.keep_alive(false);
      co_await http::async_write(connection->socket, response, into(error));
      break;
    }
    if (error) break;
    co_await while_hanging(service);
    std::optional<Response> refusal = refuse(service, request);
    if (!refusal && path_of(request) == "/stream") {
      connection->idle = connection->answered = true;
      if (service.stopping) end_idle(*connection);
      co_await echo_lines(service, connection);
      break;
    }
    Response response;
    if (refusal) {
      response = std::move(*refusal);
    } else if (path_of(request) == "/slow") {
      response = co_await answer_slowly(service, request);
    } else {
      response = answer(service, request);
    }
    more = response.keep_alive();
    connection->answered = true;
    co_await http::async_write(connection->socket, response, into(error));
  }
  connection->socket.shutdown(tcp::socket::shutdown_send, error);
}

void welcome(Service& service, tcp::socket socket) {
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  const auto connection = std::make_shared<Connection>(std::move(socket));
  service.connections.insert(connection);
  asio::co_spawn(service.loop, serve(service, connection),
                 [&service, connection](const std::exception_ptr& error) {
                   if (error)
                     std::cerr << "dualdeploy-sample: a connection failed\n";  // No memory, for example.
                   service.connections.erase(connection);
                 });
}

asio::awaitable<void> accept(Service& service, tcp::acceptor& acceptor) {
  while (!service.stopping) {
    error_code error;
    tcp::socket socket = co_await acceptor.async_accept(into(error));
    if (!error) {
      welcome(service, std::move(socket));
    } else if (!service.stopping) {  // No file descriptors left, for example: not a busy loop.
      asio::steady_timer pause(service.loop, std::chrono::milliseconds(10));
      co_await pause.async_wait(into(error));
    }
  }
}

/// SIGTERM: no new connections, none lost. Those that the kernel has accepted for us already are served, too.
void stop(Service& service) {
  if (std::exchange(service.stopping, true)) return;
  for (const auto& acceptor : service.acceptors) {
    error_code error;
    acceptor->non_blocking(true, error);
    while (!error) {
      tcp::socket socket = acceptor->accept(error);
      if (!error) welcome(service, std::move(socket));
    }
    acceptor->close(error);
  }
  for (const ConnectionPtr& connection : service.connections) {
    if (connection->answered) end_idle(*connection);
  }
}

asio::awaitable<void> watch_signals(Service& service) {
  asio::signal_set signals(service.loop, SIGTERM, SIGINT, SIGUSR1);
  error_code error;
  while (!service.stopping) {
    if (co_await signals.async_wait(into(error)) == SIGUSR1) {
      service.hanging = service.sick = false;
      service.hang_end.cancel();
    } else {
      stop(service);
    }
  }
  asio::steady_timer last_call(service.loop, first_request_grace);
  co_await last_call.async_wait(into(error));
  for (const ConnectionPtr& connection : service.connections) end_idle(*connection);
  last_call.expires_after(grace);
  co_await last_call.async_wait(into(error));
  service.loop.stop();
}

/// One socket for IPv6 and IPv4; IPv4 alone where the kernel has no IPv6. Throws system_error.
std::unique_ptr<tcp::acceptor> listen(asio::io_context& loop, unsigned short port) {
  auto acceptor = std::make_unique<tcp::acceptor>(loop);
  error_code no_ipv6;
  acceptor->open(tcp::v6(), no_ipv6);
  if (no_ipv6) {
    acceptor->open(tcp::v4());
  } else {
    acceptor->set_option(asio::ip::v6_only(false));
  }
  acceptor->set_option(tcp::acceptor::reuse_address(true));
  acceptor->bind(tcp::endpoint(no_ipv6 ? tcp::v4() : tcp::v6(), port));
  constexpr int backlog = 4'096;
  acceptor->listen(backlog);
  return acceptor;
}

/// What a coroutine that runs as long as the program ends with.
void note_end(const std::exception_ptr& error) {
  if (error) std::rethrow_exception(error);
}

constexpr const char* usage =
    "usage: dualdeploy-sample [--port N]... [--side rpm|container]\n"
    "  --port N      listen there, on all IPv4 and IPv6 addresses (8080); may be repeated\n"
    "  --side NAME   the name in the answers (default: SAMPLE_SIDE in the environment, or rpm)\n"
    "  --version     the source revision\n"
    "  GET /  /healthz  /version  /slow?ms=N  /bytes?n=N  /stream (upgrade, echoes lines)\n"
    "  POST /switch?state=well|sick|hang|exit   SIGUSR1 makes it well again, also from a hang\n";

int wrong(const std::string& what) {
  std::cerr << "dualdeploy-sample: " << what << "\n" << usage;
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  Service service;
  std::vector<unsigned short> ports;
  if (const char* side = std::getenv("SAMPLE_SIDE")) service.side = side;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& option = arguments[i];
    if (option == "--help") return std::cout << usage, 0;
    if (option == "--version") return std::cout << revision << "\n", 0;
    if (option != "--port" && option != "--side") return wrong("unknown option " + option);
    if (++i == arguments.size()) return wrong(option + " needs a value");
    if (option == "--side") {
      service.side = arguments[i];
      continue;
    }
    const auto port = number(arguments[i], 65'535);
    if (!port || *port == 0) return wrong("no port: " + arguments[i] + " (1 to 65535)");
    ports.push_back(static_cast<unsigned short>(*port));
  }
  if (service.side != "rpm" && service.side != "container") return wrong("no side: " + service.side);
  if (ports.empty()) ports.push_back(8'080);

  for (const unsigned short port : ports) {
    try {
      service.acceptors.push_back(listen(service.loop, port));
    } catch (const boost::system::system_error& error) {
      std::cerr << "dualdeploy-sample: cannot listen on port " << port << ": " << error.code().message()
                << "\n";
      return 1;
    }
  }
  for (const auto& acceptor : service.acceptors)
    asio::co_spawn(service.loop, accept(service, *acceptor), note_end);
  asio::co_spawn(service.loop, watch_signals(service), note_end);
  while (!service.stopping || !service.connections.empty()) {
    if (service.loop.run_one() == 0) break;
  }
  return 0;
}
