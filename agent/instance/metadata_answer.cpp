#include "instance/metadata_answer.hpp"

#include <algorithm>
#include <charconv>
#include <string_view>

namespace dualdeploy::instance {

namespace http = boost::beast::http;

namespace {

constexpr std::size_t token_limit = 1024;
/// A token is renewed so long before its end: a request under way must not see it end.
constexpr Milliseconds token_margin{60'000};

/// The whole text as a decimal number.
std::optional<std::int64_t> number_in(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// It becomes a header of ours: whatever else the service answers must not.
bool is_token(std::string_view text) {
  return !text.empty() && text.size() <= token_limit &&
         std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
}

std::string meaning_of(unsigned status) {
  const std::string text = "HTTP " + std::to_string(status);
  if (status / 100 == 3) return text + ": redirects are not followed";
  if (status == 401) return text + ": it does not take its own token";
  if (status == 403) return text + ": it is switched off for this instance, or forbids this";
  if (status == 404) return text + ": it gives no tokens";
  if (status == 429 || status == 503) return text + ": it is busy, or throttles";
  return text;
}

}  // namespace

std::expected<Answer, std::string> read_answer(AnswerParser& parser) {
  // Half an instance-id would be another instance's: an answer has to say where it ends.
  if (parser.get().result() == http::status::ok && parser.need_eof()) {
    return std::unexpected("the answer does not tell its length");
  }
  auto response = parser.release();
  return Answer{response.result_int(), std::move(response.body()), std::string(response[lifetime_header])};
}

std::expected<Token, std::string> read_token(const Answer& answer, Instant begun) {
  if (answer.status != 200) return std::unexpected(meaning_of(answer.status));
  if (!is_token(answer.body)) return std::unexpected("the answer is no token");
  const std::int64_t told = number_in(answer.lifetime).value_or(token_seconds);
  const std::chrono::seconds lifetime{std::clamp(told, std::int64_t{0}, token_seconds)};
  return Token{answer.body, begun + lifetime - token_margin};
}

std::expected<std::optional<std::string>, std::string> read_value(const Answer& answer) {
  if (answer.status == 200) return answer.body;
  if (answer.status == 404) return std::optional<std::string>();
  return std::unexpected(meaning_of(answer.status));
}

}  // namespace dualdeploy::instance
