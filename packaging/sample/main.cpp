// A small HTTP service to show and test dual deployment with: it says which side it is, can be slow, and can be made
// sick or hang on demand. One source for the RPM and for the container image.

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
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <set>
#include <string>

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr const char* revision = SAMPLE_REVISION;
constexpr std::size_t line_limit = 64 * 1024;
constexpr auto grace = std::chrono::seconds(5);

struct Connection {
  explicit Connection(tcp::socket socket) : stream(std::move(socket)) {}
  beast::tcp_stream stream;
  beast::flat_buffer buffer;
  bool busy = false;  // A request is being answered.
};
using ConnectionPtr = std::shared_ptr<Connection>;
using Request = http::request<http::string_body>;
using Response = http::response<http::string_body>;

struct Service {
  explicit Service(asio::io_context& loop_in) : loop(loop_in), woken(loop_in) {}
  asio::io_context& loop;
  std::string side = "rpm";
  bool sick = false;
  bool hanging = false;
  bool stopping = false;
  asio::steady_timer woken;  // Cancelled when a hang ends.
  std::set<ConnectionPtr> connections;
};

/// The number behind NAME= in the target, or nothing.
std::optional<long> number_in(std::string_view target, std::string_view name) {
  const std::size_t at = target.find(std::string(name) + "=");
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view rest = target.substr(at + name.size() + 1);
  long number = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  if (error != std::errc{} || number < 0) return std::nullopt;
  return number;
}

Response respond(const Service& service, const Request& request, http::status status, std::string body) {
  Response response(status, request.version());
  response.set("X-Side", service.side);
  response.set("X-Revision", revision);
  response.set(http::field::content_type, "text/plain");
  response.keep_alive(request.keep_alive() && !service.stopping);
  response.body() = std::move(body);
  response.prepare_payload();
  return response;
}

/// POST /switch?state=well|sick|hang|exit
Response turn_switch(Service& service, const Request& request, std::string_view target) {
  if (request.method() != http::verb::post) return respond(service, request, http::status::method_not_allowed, "POST, please\n");
  const std::size_t at = target.find("state=");
  const std::string_view state = at == std::string_view::npos ? std::string_view() : target.substr(at + 6);
  if (state == "exit") ::_exit(1);
  if (state != "well" && state != "sick" && state != "hang") {
    return respond(service, request, http::status::bad_request, "state=well, sick, hang or exit\n");
  }
  service.sick = state == "sick";
  service.hanging = state == "hang";
  return respond(service, request, http::status::ok, std::string(state) + "\n");
}

asio::awaitable<Response> answer(Service& service, const Request& request) {
  const std::string target(request.target().data(), request.target().size());
  const std::string path = target.substr(0, target.find('?'));
  if (path == "/") co_return respond(service, request, http::status::ok, "hello from " + service.side + "\n");
  if (path == "/healthz") {
    co_return respond(service, request, service.sick ? http::status::service_unavailable : http::status::ok,
                      service.sick ? "sick\n" : "ok\n");
  }
  if (path == "/version") {
    co_return respond(service, request, http::status::ok,
                      std::string("{\"revision\":\"") + revision + "\",\"side\":\"" + service.side +
                          "\",\"pid\":" + std::to_string(::getpid()) + "}\n");
  }
  if (path == "/slow") {
    constexpr long longest_ms = 60'000;
    asio::steady_timer timer(service.loop, std::chrono::milliseconds(std::min(number_in(target, "ms").value_or(1'000), longest_ms)));
    error_code ignored;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    co_return respond(service, request, http::status::ok, "slow but sure\n");
  }
  if (path == "/bytes") {
    constexpr long most = 64L * 1024 * 1024;
    const auto count = static_cast<std::size_t>(std::min(number_in(target, "n").value_or(1'024), most));
    co_return respond(service, request, http::status::ok, std::string(count, 'x'));
  }
  if (path == "/switch") co_return turn_switch(service, request, target);
  co_return respond(service, request, http::status::not_found, "no such path\n");
}

/// A long connection, as a websocket is one: every line comes back with the side's name, until the peer leaves.
asio::awaitable<void> echo_lines(Service& service, ConnectionPtr connection) {
  error_code error;
  const std::string switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Side: " + service.side + "\r\n\r\n";
  co_await asio::async_write(connection->stream, asio::buffer(switched), asio::redirect_error(asio::use_awaitable, error));
  std::string lines(static_cast<const char*>(connection->buffer.data().data()), connection->buffer.size());
  while (!error) {
    const std::size_t length = co_await asio::async_read_until(connection->stream, asio::dynamic_buffer(lines, line_limit), '\n',
                                                               asio::redirect_error(asio::use_awaitable, error));
    if (error) break;
    const std::string reply = service.side + ": " + lines.substr(0, length);
    lines.erase(0, length);
    co_await asio::async_write(connection->stream, asio::buffer(reply), asio::redirect_error(asio::use_awaitable, error));
  }
}

asio::awaitable<void> serve(Service& service, ConnectionPtr connection) {
  service.connections.insert(connection);
  bool more = true;
  while (more) {
    Request request;
    error_code error;
    connection->busy = connection->buffer.size() > 0;
    co_await http::async_read(connection->stream, connection->buffer, request, asio::redirect_error(asio::use_awaitable, error));
    if (error) break;
    connection->busy = true;
    while (service.hanging) {
      error_code ignored;
      service.woken.expires_at(std::chrono::steady_clock::time_point::max());
      co_await service.woken.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    if (request.target() == "/stream") {
      connection->busy = false;
      co_await echo_lines(service, connection);
      break;
    }
    Response response = co_await answer(service, request);
    more = response.keep_alive();
    co_await http::async_write(connection->stream, response, asio::redirect_error(asio::use_awaitable, error));
    if (error) break;
  }
  error_code ignored;
  connection->stream.socket().shutdown(tcp::socket::shutdown_send, ignored);
  service.connections.erase(connection);
}

void note_end(const std::exception_ptr& error) {
  if (error) std::cerr << "dualdeploy-sample: a coroutine failed\n";
}

asio::awaitable<void> accept(Service& service, std::shared_ptr<tcp::acceptor> acceptor) {
  while (!service.stopping) {
    error_code error;
    tcp::socket socket = co_await acceptor->async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::operation_aborted) break;
    if (error) {
      asio::steady_timer pause(service.loop, std::chrono::milliseconds(10));
      error_code ignored;
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      continue;
    }
    socket.set_option(tcp::no_delay(true), error);
    asio::co_spawn(service.loop, serve(service, std::make_shared<Connection>(std::move(socket))), note_end);
  }
}

std::shared_ptr<tcp::acceptor> listen(asio::io_context& loop, unsigned short port) {
  auto acceptor = std::make_shared<tcp::acceptor>(loop);
  constexpr int backlog = 4'096;
  acceptor->open(tcp::v6());
  acceptor->set_option(tcp::acceptor::reuse_address(true));
  acceptor->set_option(asio::ip::v6_only(false));
  acceptor->bind(tcp::endpoint(tcp::v6(), port));
  acceptor->listen(backlog);
  return acceptor;
}

constexpr const char* usage =
    "usage: dualdeploy-sample [--port N]... [--side rpm|container]\n"
    "  GET /  /healthz  /version  /slow?ms=N  /bytes?n=N  /stream (upgrade, echoes lines)\n"
    "  POST /switch?state=well|sick|hang|exit   (SIGUSR1 ends a hang)\n";

}  // namespace

int main(int argc, char** argv) {
  asio::io_context loop(1);
  Service service(loop);
  std::vector<unsigned short> ports;
  if (const char* side = std::getenv("SAMPLE_SIDE")) service.side = side;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--help") return std::cout << usage, 0;
    if (option == "--version") return std::cout << revision << "\n", 0;
    const std::string value = i + 1 < argc ? argv[++i] : "";
    const int port = option == "--port" ? std::atoi(value.c_str()) : 0;
    if (option == "--side" && !value.empty()) {
      service.side = value;
    } else if (port > 0 && port < 65'536) {
      ports.push_back(static_cast<unsigned short>(port));
    } else {
      return std::cerr << usage, 2;
    }
  }
  if (ports.empty()) ports.push_back(8080);

  std::vector<std::shared_ptr<tcp::acceptor>> acceptors;
  for (const unsigned short port : ports) {
    try {
      acceptors.push_back(listen(loop, port));
    } catch (const boost::system::system_error& error) {
      std::cerr << "dualdeploy-sample: cannot listen on port " << port << ": " << error.code().message() << "\n";
      return 1;
    }
    asio::co_spawn(loop, accept(service, acceptors.back()), note_end);
  }

  asio::steady_timer last_call(loop);
  asio::signal_set end(loop, SIGTERM, SIGINT);
  end.async_wait([&](const error_code& error, int) {
    if (error) return;
    service.stopping = true;
    for (const auto& acceptor : acceptors) acceptor->close();
    for (const ConnectionPtr& connection : service.connections) {
      if (!connection->busy) connection->stream.close();
    }
    last_call.expires_after(grace);
    last_call.async_wait([&loop](const error_code&) { loop.stop(); });
  });
  asio::signal_set wake(loop, SIGUSR1);
  wake.async_wait([&service](const error_code& error, int) {
    if (error) return;
    service.hanging = service.sick = false;
    service.woken.cancel();
  });
  while (!service.stopping || !service.connections.empty()) {
    if (loop.run_one() == 0) break;
  }
  return 0;
}
