#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http.hpp>

#include "fuzz.hpp"
#include "instance/identity.hpp"
#include "instance/metadata_answer.hpp"

/// An answer of the metadata service, as it comes over the connection; the body is also what DIRECTORY/instance.json says.
namespace dualdeploy::instance {
namespace {

namespace http = boost::beast::http;
using fuzz::require;

/// As http::async_read() does, from a connection that is closed behind these bytes.
std::optional<Answer> answer_in(std::string_view bytes) {
  AnswerParser parser;
  parser.body_limit(answer_limit);
  parser.eager(true);
  boost::system::error_code error;
  while (!bytes.empty() && !parser.is_done()) {
    const std::size_t used = parser.put(boost::asio::buffer(bytes), error);
    bytes.remove_prefix(used);
    if (error == http::error::need_more) break;
    if (error) return std::nullopt;
  }
  error.clear();
  if (!parser.is_done()) {
    if (!parser.got_some()) return std::nullopt;
    parser.put_eof(error);
    if (error) return std::nullopt;
  }
  auto answer = read_answer(parser);
  return answer ? std::optional(std::move(*answer)) : std::nullopt;
}

void check_token(const Answer& answer) {
  const Instant begun{Milliseconds{1'000'000}};
  const auto token = read_token(answer, begun);
  if (!token) {
    require(!token.error().empty(), "a refusal has a reason");
    return;
  }
  require(answer.status == 200 && !token->text.empty() && token->text.size() <= 1024, "a token is bounded");
  require(std::ranges::all_of(token->text, [](char c) { return c > ' ' && c < 0x7f; }), "a token fits into a header");
  require(token->renew_at <= begun + std::chrono::seconds(token_seconds), "a token ends");
}

/// What a tag or user data ask for, if it is understood.
void check_routes(std::string_view text) {
  const auto routes = parse_initial_routes(text);
  if (!routes) {
    require(!routes.error().message.empty(), "a refusal has a reason");
    return;
  }
  std::string again;
  for (const auto& [service, route] : *routes) {
    require(!service.empty() && route.container_percent >= 0 && route.container_percent <= 100, "a route is one of a service");
    again += service + "=" + std::to_string(route.container_percent) + "%,";
  }
  const auto read = parse_initial_routes(again);
  require(read && *read == *routes, "routes can be read back", again);
}

}  // namespace
}  // namespace dualdeploy::instance

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dualdeploy;
  using namespace dualdeploy::instance;
  const auto answer = answer_in(fuzz::as_text(data, size));
  if (!answer) return 0;
  check_token(*answer);
  const auto value = read_value(*answer);
  if (!value || !*value) return 0;
  const std::string& text = **value;
  check_routes(text);
  if (const auto line = line_in_user_data(text)) {
    fuzz::require(line->find('\n') == std::string::npos, "a line is one");
    check_routes(*line);
  }
  if (is_instance_id(text)) fuzz::require(text.find('/') == std::string::npos && text.size() <= 64, "an id can be a file's name");
  if (const auto known = parse_remembered(text)) fuzz::require(is_instance_id(known->instance_id), "only an id is remembered");
  return 0;
}
