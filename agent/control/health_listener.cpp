#include "control/health_listener.hpp"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <list>

#include "control/accept_loop.hpp"
#include "core/endpoint.hpp"
#include "host/spawn.hpp"

namespace dualdeploy::control {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using Stream = beast::basic_stream<tcp, asio::any_io_executor>;
using boost::system::error_code;

namespace {

constexpr Milliseconds retry_pause{2'000};
constexpr std::uint32_t header_limit = 8 * 1024;
constexpr std::size_t body_limit = 1024;
constexpr std::string_view root = "/healthz";

/// The service in a path; nothing if the path is another.
std::optional<std::string> service_in(std::string_view target) {
  target = target.substr(0, target.find('?'));
  if (!target.starts_with(root)) return std::nullopt;
  target.remove_prefix(root.size());
  if (target.empty() || target == "/") return "";
  if (!target.starts_with('/') || target.substr(1).contains('/')) return std::nullopt;
  return std::string(target.substr(1));
}

}  // namespace

struct HealthListener::Impl : std::enable_shared_from_this<Impl> {
  Impl(asio::any_io_executor executor_in, Ask ask_in, Limits limits_in)
      : executor(std::move(executor_in)), ask(std::move(ask_in)), limits(limits_in), acceptor(executor) {}

  void welcome(tcp::socket socket) {
    if (connections.size() >= limits.connections) {
      connections.front()->close();
      connections.pop_front();
    }
    connections.push_back(std::make_shared<Stream>(std::move(socket)));
    host::spawn(executor, "health connection", serve(shared_from_this(), connections.back()));
  }

  static asio::awaitable<void> serve(std::shared_ptr<Impl> self, std::shared_ptr<Stream> stream) {
    co_await self->exchange(*stream);
    error_code ignored;
    stream->socket().shutdown(tcp::socket::shutdown_send, ignored);
    stream->close();
    std::erase(self->connections, stream);
  }

  asio::awaitable<void> exchange(Stream& stream) {
    stream.expires_after(limits.exchange);
    beast::flat_buffer buffer;
    http::request_parser<http::string_body> parser;
    parser.header_limit(header_limit);
    parser.body_limit(body_limit);
    error_code error;
    co_await http::async_read(stream, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    const auto request = parser.release();
    const bool head = request.method() == http::verb::head;
    FrontHealth health{405, "this takes GET"};
    if (head || request.method() == http::verb::get) {
      std::optional<std::string> service = service_in(request.target());
      if (service) {
        health = co_await ask(std::move(*service));
      } else {
        health = FrontHealth{404, "there is /healthz, and /healthz/SERVICE"};
      }
    }
    http::response<http::string_body> response(static_cast<http::status>(health.status), 11);
    response.set(http::field::server, "dualdeployd");
    response.set(http::field::content_type, "text/plain; charset=utf-8");
    response.set(http::field::cache_control, "no-store");
    if (health.status == 405) response.set(http::field::allow, "GET, HEAD");
    response.keep_alive(false);
    response.body() = health.text + "\n";
    response.prepare_payload();
    if (head) response.body().clear();
    co_await http::async_write(stream, response, asio::redirect_error(asio::use_awaitable, error));
  }

  asio::any_io_executor executor;
  Ask ask;
  Limits limits;
  tcp::acceptor acceptor;
  std::list<std::shared_ptr<Stream>> connections;
  bool stopped = false;
};

HealthListener::HealthListener(asio::any_io_executor executor, Ask ask, Limits limits)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(ask), limits)) {}

HealthListener::~HealthListener() {
  impl_->stopped = true;
  error_code ignored;
  impl_->acceptor.close(ignored);
  for (const auto& connection : impl_->connections) connection->close();
}

void HealthListener::keep_trying(const std::string& address, std::function<void(std::optional<Error>)> on_trouble) {
  host::spawn(impl_->executor, "health listener", try_again(this, impl_, address, std::move(on_trouble)));
}

asio::awaitable<void> HealthListener::try_again(HealthListener* listener, std::shared_ptr<Impl> impl, std::string address,
                                                std::function<void(std::optional<Error>)> on_trouble) {
  std::string told;
  while (!impl->stopped) {
    const auto listening = listener->listen(address);
    if (listening) break;
    if (listening.error().message != told) on_trouble(listening.error());
    told = listening.error().message;
    asio::steady_timer pause(impl->executor, retry_pause);
    error_code ignored;
    co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  if (!impl->stopped && !told.empty()) on_trouble(std::nullopt);
}

Expected<void> HealthListener::listen(const std::string& address) {
  const auto where = endpoint_in(address);
  if (!where) return fail(ErrorCode::usage, "'" + address + "' is no address with a port");
  error_code error;
  const auto ip = asio::ip::make_address(where->address);
  const tcp::endpoint endpoint(ip, where->port);
  tcp::acceptor& acceptor = impl_->acceptor;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error && ip.is_v6()) acceptor.set_option(asio::ip::v6_only(!ip.is_unspecified()), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) {
    error_code ignored;
    acceptor.close(ignored);
    return fail("cannot listen on " + address + ": " + error.message());
  }
  host::spawn(impl_->executor, "health listener", accept_loop(impl_, std::shared_ptr<tcp::acceptor>(impl_, &acceptor)));
  return {};
}

std::uint16_t HealthListener::port() const { return impl_->acceptor.local_endpoint().port(); }

}  // namespace dualdeploy::control
