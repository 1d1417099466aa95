#include "instance/metadata.hpp"

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include "instance/metadata_answer.hpp"

namespace dualdeploy::instance {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr const char* token_target = "/latest/api/token";
constexpr const char* token_header = "X-aws-ec2-metadata-token";

struct Question {
  http::verb verb = http::verb::get;
  std::string target;
  std::string header;
  std::string header_value;

  /// "GET /latest/meta-data/instance-id"
  [[nodiscard]] std::string text() const { return std::string(http::to_string(verb)) + " " + target; }
};

bool is_alphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

/// What categories and the names of tags have. Anything else would need an encoding, of which the service says nothing.
bool is_path(std::string_view text) {
  return !text.empty() && text.front() != '/' && std::ranges::all_of(text, [](char c) {
    return is_alphanumeric(c) || std::string_view("/-._~+=,:@").contains(c);
  });
}

std::string why_not_read(const error_code& error, Milliseconds timeout) {
  if (error == beast::error::timeout) return "no complete answer within " + format_duration(timeout);
  if (error == http::error::end_of_stream) return "the connection was closed without an answer";
  if (error == http::error::partial_message) return "the connection was closed in the middle of the answer";
  if (error == http::error::body_limit) return "the answer has more than 64 KiB";
  if (error.category() == http::make_error_code(http::error::bad_version).category()) {
    return "the answer is not HTTP: " + error.message();
  }
  return error.message();
}

}  // namespace

struct Metadata::Impl {
  using Self = std::shared_ptr<Impl>;

  Impl(asio::any_io_executor executor_in, Settings settings_in, std::function<Instant()> clock_in)
      : executor(std::move(executor_in)),
        settings(std::move(settings_in)),
        endpoint(parse_endpoint(settings.endpoint)),
        clock(std::move(clock_in)) {}

  [[nodiscard]] Error error(ErrorCode code, const std::string& asked, const std::string& happened) const {
    return Error{code, "metadata service at " + settings.endpoint + ": " + asked + ": " + happened};
  }
  [[nodiscard]] Error unreachable(const std::string& asked, const std::string& happened) const {
    return error(ErrorCode::unreachable, asked, happened);
  }
  [[nodiscard]] Error broken(const std::string& asked, const error_code& failed, const std::string& happened) const {
    return error(failed == beast::error::timeout ? ErrorCode::timed_out : ErrorCode::unreachable, asked, happened);
  }

  /// One connection, one request, one answer, one deadline for all of it.
  static asio::awaitable<Expected<Answer>> exchange(Self self, Question question) {
    const std::string asked = question.text();
    const Milliseconds timeout = self->settings.timeout;
    if (!self->endpoint) co_return std::unexpected(self->endpoint.error());
    error_code error;
    const tcp::endpoint where(asio::ip::make_address(self->endpoint->address), self->endpoint->port);
    beast::tcp_stream stream(self->executor);
    stream.expires_after(timeout);
    co_await stream.async_connect(where, asio::redirect_error(asio::use_awaitable, error));
    if (error) {
      const bool late = error == beast::error::timeout;
      const std::string why = late ? " within " + format_duration(timeout) : ": " + error.message();
      co_return std::unexpected(self->broken(asked, error, "no connection" + why));
    }
    http::request<http::empty_body> request(question.verb, question.target, 11);
    request.set(http::field::host, self->endpoint->authority());
    request.set(http::field::user_agent, "dualdeploy/1");
    request.set(http::field::connection, "close");
    request.set(question.header, question.header_value);
    request.prepare_payload();
    co_await http::async_write(stream, request, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return std::unexpected(self->broken(asked, error, why_not_read(error, timeout)));

    beast::flat_buffer buffer(2 * answer_limit);
    AnswerParser parser;
    parser.body_limit(answer_limit);
    co_await http::async_read(stream, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return std::unexpected(self->broken(asked, error, why_not_read(error, timeout)));
    auto answer = read_answer(parser);
    if (!answer) co_return std::unexpected(self->unreachable(asked, answer.error()));
    co_return std::move(*answer);
  }

  /// The token that is kept, or a new one.
  static asio::awaitable<Expected<std::string>> take_token(Self self) {
    const Instant begun = self->clock();
    if (self->token && begun < self->token->renew_at) co_return self->token->text;
    Question question{http::verb::put, token_target, lifetime_header, std::to_string(token_seconds)};
    const std::string asked = question.text();
    auto answer = co_await exchange(self, std::move(question));
    if (!answer) co_return std::unexpected(answer.error());
    auto token = read_token(*answer, begun);
    if (!token) co_return std::unexpected(self->unreachable(asked, token.error()));
    self->token = *token;
    co_return std::move(token->text);
  }

  static asio::awaitable<Expected<std::optional<std::string>>> ask(Self self, std::string target) {
    for (bool again = false;; again = true) {
      auto token = co_await take_token(self);
      if (!token) co_return std::unexpected(token.error());
      Question question{http::verb::get, target, token_header, *token};
      const std::string asked = question.text();
      auto answer = co_await exchange(self, std::move(question));
      if (!answer) co_return std::unexpected(answer.error());
      const bool stale = answer->status == 401 && !again;
      if (!stale) {
        auto value = read_value(*answer);
        if (!value) co_return std::unexpected(self->unreachable(asked, value.error()));
        co_return std::move(*value);
      }
      // Another call may have renewed it meanwhile: only the refused one is dropped.
      if (self->token && self->token->text == *token) self->token.reset();
    }
  }

  static asio::awaitable<Expected<std::optional<std::string>>> refuse(Error error) {
    co_return std::unexpected(std::move(error));
  }

  asio::any_io_executor executor;
  Settings settings;
  Expected<Endpoint> endpoint;
  std::function<Instant()> clock;
  std::optional<Token> token;
};

Metadata::Metadata(asio::any_io_executor executor, Settings settings, std::function<Instant()> clock)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(settings), std::move(clock))) {}
Metadata::~Metadata() = default;

asio::awaitable<Expected<std::optional<std::string>>> Metadata::get(std::string path) {
  if (!is_path(path)) return Impl::refuse(impl_->error(ErrorCode::usage, "GET", "'" + path + "' is no path of a value"));
  return Impl::ask(impl_, "/latest/meta-data/" + path);
}

asio::awaitable<Expected<std::optional<std::string>>> Metadata::user_data() {
  return Impl::ask(impl_, "/latest/user-data");
}

Backoff::Backoff(Milliseconds first, Milliseconds most, std::uint32_t seed)
    : first_(std::max(first, Milliseconds{1})), most_(std::max(first_, most)), step_(first_), random_(seed) {}

Milliseconds Backoff::next() {
  const Milliseconds step = step_;
  step_ = step > most_ / 2 ? most_ : step * 2;
  std::uniform_int_distribution<Milliseconds::rep> wait(std::max(first_, step / 2).count(), step.count());
  return Milliseconds{wait(random_)};
}

}  // namespace dualdeploy::instance
