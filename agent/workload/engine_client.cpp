#include "workload/engine_client.hpp"

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>

#include "workload/engine_answer.hpp"

namespace dualdeploy::workload {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace json = boost::json;
using boost::system::error_code;

namespace {

using Stream = beast::basic_stream<asio::local::stream_protocol, asio::any_io_executor>;

constexpr int lowest_minor = 24;
constexpr Milliseconds short_deadline{10'000};
constexpr Milliseconds create_deadline{60'000};
/// The engine needs some time of its own beside the grace of a stop.
constexpr Milliseconds stop_allowance{15'000};
constexpr std::size_t answer_limit = 8 * 1024 * 1024;

/// Percent-encodes what is not unreserved in RFC 3986, section 2.3.
std::string encoded(std::string_view text) {
  std::string result;
  constexpr std::string_view digits = "0123456789ABCDEF";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || c == '-' || c == '_' || c == '.' || c == '~') {
      result += c;
    } else {
      result += {'%', digits[byte >> 4U], digits[byte & 15U]};
    }
  }
  return result;
}

}  // namespace

struct EngineClient::Impl {
  Impl(asio::any_io_executor executor_in, std::string socket_in, int highest_minor_in)
      : executor(std::move(executor_in)), socket(std::move(socket_in)), highest_minor(highest_minor_in) {}

  Error unreachable(const std::string& what, const error_code& error) {
    minor.reset();  // Another engine may come up: negotiate again.
    const std::string why = error == beast::error::timeout ? "no answer in time" : error.message();
    return Error{ErrorCode::unreachable, "container engine at " + socket + " " + what + ": " + why};
  }

  asio::awaitable<Expected<Answer>> exchange(http::verb verb, std::string target, std::string body, Milliseconds deadline) {
    Stream stream(executor);
    stream.expires_after(deadline);
    error_code error;
    co_await stream.async_connect(asio::local::stream_protocol::endpoint(socket), asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return std::unexpected(unreachable("cannot be reached", error));
    http::request<http::string_body> request(verb, target, 11);
    request.set(http::field::host, "docker");
    request.set(http::field::connection, "close");
    if (!body.empty()) request.set(http::field::content_type, "application/json");
    request.body() = std::move(body);
    request.prepare_payload();
    co_await http::async_write(stream, request, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return std::unexpected(unreachable("does not take the request", error));
    beast::flat_buffer buffer;
    http::response_parser<http::string_body> parser;
    parser.body_limit(answer_limit);
    co_await http::async_read(stream, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return std::unexpected(unreachable("does not answer " + target, error));
    auto response = parser.release();
    co_return Answer{response.result_int(), std::move(response.body()), std::string(response["Api-Version"])};
  }

  /// The highest version both understand, as "/v1.N".
  asio::awaitable<Expected<std::string>> prefix() {
    if (minor) co_return "/v1." + std::to_string(*minor);
    auto pong = co_await exchange(http::verb::get, "/_ping", "", short_deadline);
    if (!pong) co_return std::unexpected(pong.error());
    if (pong->status != 200) co_return std::unexpected(Error{ErrorCode::unreachable, refusal(*pong).message});
    auto version = co_await exchange(http::verb::get, "/version", "", short_deadline);
    if (!version) co_return std::unexpected(version.error());
    const auto theirs = read_versions(*pong, *version);
    if (!theirs) co_return std::unexpected(theirs.error());
    if (!theirs->newest) co_return fail(ErrorCode::unreachable, "container engine at " + socket + " does not say its API version");
    if (*theirs->newest < lowest_minor || theirs->oldest > highest_minor) {
      co_return fail(ErrorCode::unreachable,
                     "container engine at " + socket + " speaks API 1." + std::to_string(theirs->oldest) + " to 1." +
                         std::to_string(*theirs->newest) + "; this agent speaks 1." + std::to_string(lowest_minor) + " to 1." +
                         std::to_string(highest_minor));
    }
    minor = std::min(*theirs->newest, highest_minor);
    co_return "/v1." + std::to_string(*minor);
  }

  asio::awaitable<Expected<Answer>> call(http::verb verb, std::string target, std::string body, Milliseconds deadline) {
    auto version = co_await prefix();
    if (!version) co_return std::unexpected(version.error());
    co_return co_await exchange(verb, *version + target, std::move(body), deadline);
  }

  /// A call that is done by 2xx, and by the other statuses that mean that it was so already.
  asio::awaitable<Expected<void>> act(http::verb verb, std::string target, std::string body, Milliseconds deadline,
                                      unsigned also_fine) {
    auto answer = co_await call(verb, std::move(target), std::move(body), deadline);
    if (!answer) co_return std::unexpected(answer.error());
    if (answer->status / 100 == 2 || answer->status == also_fine) co_return Expected<void>{};
    co_return std::unexpected(refusal(*answer));
  }

  asio::any_io_executor executor;
  std::string socket;
  int highest_minor;
  std::optional<int> minor;
};

EngineClient::EngineClient(asio::any_io_executor executor, std::string socket_path, int highest_minor)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(socket_path), highest_minor)) {}
EngineClient::~EngineClient() = default;

asio::awaitable<Expected<void>> EngineClient::ping() {
  return impl_->act(http::verb::get, "/_ping", "", Milliseconds{5'000}, 0);
}

asio::awaitable<Expected<std::optional<EngineClient::Image>>> EngineClient::inspect_image(std::string name) {
  auto answer = co_await impl_->call(http::verb::get, "/images/" + encoded(name) + "/json", "", short_deadline);
  if (!answer) co_return std::unexpected(answer.error());
  co_return read_image(*answer);
}

asio::awaitable<Expected<std::optional<EngineClient::Container>>> EngineClient::inspect_container(std::string name) {
  auto answer = co_await impl_->call(http::verb::get, "/containers/" + encoded(name) + "/json", "", short_deadline);
  if (!answer) co_return std::unexpected(answer.error());
  co_return read_container(*answer);
}

asio::awaitable<Expected<void>> EngineClient::create(std::string name, json::object body) {
  return impl_->act(http::verb::post, "/containers/create?name=" + encoded(name), json::serialize(body), create_deadline, 0);
}

asio::awaitable<Expected<void>> EngineClient::start(std::string name) {
  return impl_->act(http::verb::post, "/containers/" + encoded(name) + "/start", "", create_deadline, 304);
}

asio::awaitable<Expected<void>> EngineClient::stop(std::string name, Milliseconds grace) {
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(grace).count();
  auto stopped = co_await impl_->act(http::verb::post, "/containers/" + encoded(name) + "/stop?t=" + std::to_string(seconds), "",
                                     grace + stop_allowance, 304);
  co_return stopped;
}

asio::awaitable<Expected<void>> EngineClient::remove(std::string name) {
  return impl_->act(http::verb::delete_, "/containers/" + encoded(name) + "?force=true", "", create_deadline, 404);
}

asio::awaitable<Error> EngineClient::follow_events(std::string container, std::function<void()> on_open, OnEvent on_event,
                                                   std::shared_ptr<Following> following) {
  const auto impl = impl_;
  auto version = co_await impl->prefix();
  if (!version) co_return version.error();
  const auto stream_owner = std::make_shared<Stream>(impl->executor);
  Stream& stream = *stream_owner;
  following->close = [weak = std::weak_ptr(stream_owner)] {
    if (const auto open = weak.lock()) open->close();
  };
  if (following->stopped) co_return Error{ErrorCode::failed, "stopped"};
  stream.expires_after(short_deadline);
  error_code error;
  co_await stream.async_connect(asio::local::stream_protocol::endpoint(impl->socket),
                                asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return impl->unreachable("cannot be reached", error);
  const json::object filters{{"type", {"container"}}, {"container", {container}}};
  http::request<http::empty_body> request(http::verb::get, *version + "/events?filters=" + encoded(json::serialize(filters)), 11);
  request.set(http::field::host, "docker");
  co_await http::async_write(stream, request, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return impl->unreachable("does not take the request", error);
  // Some engines send the header with the first event only: from here on it is theirs to remember what happens.
  on_open();
  stream.expires_never();

  beast::flat_buffer buffer;
  http::response_parser<http::buffer_body> parser;
  parser.body_limit(boost::none);  // The limit counts the whole stream, which has no end.
  co_await http::async_read_header(stream, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return impl->unreachable("ended the event stream", error);
  if (parser.get().result_int() != 200) {
    co_return Error{ErrorCode::failed, "container engine: events: HTTP " + std::to_string(parser.get().result_int())};
  }
  EventLines lines;
  std::array<char, 8 * 1024> chunk{};
  while (!following->stopped && !parser.is_done()) {
    parser.get().body().data = chunk.data();
    parser.get().body().size = chunk.size();
    co_await http::async_read_some(stream, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
    if (error == http::error::need_buffer) error = {};
    if (error) co_return impl->unreachable("ended the event stream", error);
    const std::string_view fresh(chunk.data(), chunk.size() - parser.get().body().size);
    const bool bounded = lines.take(fresh, [&](const Event& event) {
      if (!following->stopped) on_event(event);
    });
    if (!bounded) co_return Error{ErrorCode::failed, "container engine: an event of more than 64 KiB"};
  }
  co_return Error{ErrorCode::unreachable, "container engine at " + impl->socket + " ended the event stream"};
}

}  // namespace dualdeploy::workload
