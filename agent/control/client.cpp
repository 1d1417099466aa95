#include "control/client.hpp"

#include <sys/un.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>

#include "host/text.hpp"

namespace dualdeploy::control {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace json = boost::json;
using boost::system::error_code;
using Stream = beast::basic_stream<asio::local::stream_protocol, asio::any_io_executor>;

namespace {

constexpr std::size_t answer_limit = 64 * 1024 * 1024;
constexpr std::size_t line_limit = 1024 * 1024;

/// One connection; every step blocks until it is done or its time is up.
class Call {
 public:
  explicit Call(const std::string& socket) : socket_(socket), stream_(loop_.get_executor()) {}

  Expected<void> open(Milliseconds timeout) {
    // Asio throws for a path longer than the kernel takes.
    if (socket_.size() >= sizeof(sockaddr_un::sun_path)) {
      return fail(ErrorCode::unreachable, "the agent cannot be on " + socket_ + ": the path of a socket has at most " +
                                              std::to_string(sizeof(sockaddr_un::sun_path) - 1) + " bytes");
    }
    stream_.expires_after(timeout);
    stream_.async_connect(asio::local::stream_protocol::endpoint(socket_), [this](const error_code& error) { error_ = error; });
    if (run()) return {};
    std::string hint = ". Is it running? systemctl status dualdeployd.socket dualdeployd";
    if (error_ == asio::error::access_denied) hint = ". Its directory or mode keeps you out";
    return fail(ErrorCode::unreachable, "the agent does not answer on " + socket_ + ": " + error_.message() + hint);
  }

  Expected<void> send(http::verb verb, const std::string& target, std::string body) {
    request_ = http::request<http::string_body>(verb, target, 11);
    request_.set(http::field::host, "dualdeployd");
    request_.set(http::field::user_agent, "dualctl");
    if (!body.empty()) request_.set(http::field::content_type, "application/json");
    request_.body() = std::move(body);
    request_.prepare_payload();
    http::async_write(stream_, request_, [this](const error_code& error, std::size_t) { error_ = error; });
    // An agent that turns us away answers and closes before it has read: its answer is still to be read.
    if (!run() && error_ != asio::error::broken_pipe) return broken();
    return {};
  }

  template <class Parser>
  Expected<void> read_header(Parser& parser) {
    http::async_read_header(stream_, buffer_, parser, [this](const error_code& error, std::size_t) { error_ = error; });
    if (!run()) return broken();
    return {};
  }

  Expected<std::string> read_rest(http::response_parser<http::string_body>& parser) {
    http::async_read(stream_, buffer_, parser, [this](const error_code& error, std::size_t) { error_ = error; });
    if (!run()) return std::unexpected(broken().error());
    return std::move(parser.get().body());
  }

  /// Some more of a body without end; empty at its end.
  Expected<std::string> read_some(http::response_parser<http::buffer_body>& parser) {
    std::array<char, 16 * 1024> chunk{};
    while (!parser.is_done()) {
      parser.get().body().data = chunk.data();
      parser.get().body().size = chunk.size();
      http::async_read_some(stream_, buffer_, parser, [this](const error_code& error, std::size_t) { error_ = error; });
      const bool fine = run() || error_ == http::error::need_buffer;
      if (!fine) return std::unexpected(broken().error());
      const std::size_t count = chunk.size() - parser.get().body().size;
      if (count > 0) return std::string(chunk.data(), count);
    }
    return std::string();
  }

  void no_deadline() { stream_.expires_never(); }

 private:
  bool run() {
    loop_.restart();
    loop_.run();
    return !error_;
  }
  [[nodiscard]] std::unexpected<Error> broken() const {
    if (error_ == beast::error::timeout) {
      return fail(ErrorCode::timed_out, "the agent did not answer in time; what was asked may still be done: dualctl status");
    }
    return fail(ErrorCode::unreachable, "the agent broke off: " + error_.message());
  }

  std::string socket_;
  asio::io_context loop_{1};
  Stream stream_;
  beast::flat_buffer buffer_;
  http::request<http::string_body> request_;
  error_code error_;
};

/// {"error": {"code", "exit", "message"}}
Error error_of(unsigned status, const json::value& answer) {
  const json::object* error = nullptr;
  if (const json::object* object = answer.if_object()) {
    const json::value* member = object->if_contains("error");
    if (member != nullptr) error = member->if_object();
  }
  const json::value* exit = error != nullptr ? error->if_contains("exit") : nullptr;
  const json::value* message = error != nullptr ? error->if_contains("message") : nullptr;
  if (exit == nullptr || !exit->is_int64() || message == nullptr || !message->is_string()) {
    return Error{ErrorCode::failed, "the agent answered with HTTP status " + std::to_string(status)};
  }
  return Error{static_cast<ErrorCode>(exit->get_int64()), std::string(message->get_string())};
}

Expected<json::value> exchange(const std::string& socket, http::verb verb, const std::string& target, std::string body,
                               Milliseconds timeout) {
  Call call(socket);
  if (auto opened = call.open(timeout); !opened) return std::unexpected(opened.error());
  if (auto sent = call.send(verb, target, std::move(body)); !sent) return std::unexpected(sent.error());
  http::response_parser<http::string_body> parser;
  parser.body_limit(answer_limit);
  auto text = call.read_rest(parser);
  if (!text) return std::unexpected(text.error());
  error_code error;
  json::value answer = json::parse(*text, error);
  const unsigned status = parser.get().result_int();
  if (status / 100 != 2) return std::unexpected(error_of(status, error ? json::value() : answer));
  if (error) return fail("the agent's answer is not JSON: " + error.message());
  return answer;
}

}  // namespace

Expected<json::value> Client::get(const std::string& target, Milliseconds timeout) const {
  return exchange(socket_, http::verb::get, target, "", timeout);
}

Expected<json::value> Client::post(const std::string& target, const json::object& body, Milliseconds timeout) const {
  return exchange(socket_, http::verb::post, target, host::json_text(body), timeout);
}

Expected<void> Client::events(const std::string& target, bool endless,
                              const std::function<bool(const json::object&)>& on_event) const {
  Call call(socket_);
  if (auto opened = call.open(Milliseconds{10'000}); !opened) return opened;
  if (auto sent = call.send(http::verb::get, target, ""); !sent) return sent;
  http::response_parser<http::buffer_body> parser;
  parser.body_limit(boost::none);
  if (auto header = call.read_header(parser); !header) return header;
  const unsigned status = parser.get().result_int();
  if (endless) call.no_deadline();
  std::string line;
  for (;;) {
    auto more = call.read_some(parser);
    if (!more) return std::unexpected(more.error());
    if (more->empty()) return {};
    line += *more;
    for (std::size_t end = line.find('\n'); end != std::string::npos; end = line.find('\n')) {
      error_code error;
      const json::value value = json::parse(line.substr(0, end), error);
      line.erase(0, end + 1);
      if (status != 200 || (!error && value.is_object() && value.get_object().contains("error"))) {
        return std::unexpected(error_of(status, value));
      }
      if (!error && value.is_object() && !on_event(value.get_object())) return {};
    }
    if (line.size() > line_limit) return fail("the agent sent an event of more than 1 MiB");
  }
}

}  // namespace dualdeploy::control
