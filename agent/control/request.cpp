#include "control/request.hpp"

#include <algorithm>
#include <boost/json.hpp>

#include "core/printable.hpp"

namespace dualdeploy::control {

namespace json = boost::json;

namespace {

constexpr std::size_t reason_limit = 500;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Expected<std::string> percent_decoded(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    if (i + 2 >= text.size() || hex_digit(text[i + 1]) < 0 || hex_digit(text[i + 2]) < 0) {
      return fail(ErrorCode::usage, "'%' in the target is not followed by two hexadecimal digits");
    }
    decoded += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
    i += 2;
  }
  return decoded;
}

}  // namespace

Expected<Target> parse_target(std::string_view target) {
  Target parsed;
  const std::size_t question = target.find('?');
  std::string_view path = target.substr(0, question);
  while (!path.empty()) {
    path.remove_prefix(path.front() == '/' ? 1 : 0);
    const std::string_view part = path.substr(0, path.find('/'));
    path.remove_prefix(part.size());
    auto decoded = percent_decoded(part);
    if (!decoded) return std::unexpected(decoded.error());
    if (!decoded->empty()) parsed.path.push_back(std::move(*decoded));
  }
  std::string_view query = question == std::string_view::npos ? std::string_view() : target.substr(question + 1);
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    const std::size_t equals = pair.find('=');
    auto name = percent_decoded(pair.substr(0, equals));
    auto value = percent_decoded(equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1));
    if (!name) return std::unexpected(name.error());
    if (!value) return std::unexpected(value.error());
    parsed.query[*name] = *value;
  }
  return parsed;
}

Expected<Body> Body::parse(std::string_view text) {
  Body body;
  if (text.empty()) return body;
  boost::system::error_code error;
  json::value value = json::parse(text, error);
  if (error) return fail(ErrorCode::usage, "the body is not JSON: " + error.message());
  if (!value.is_object()) return fail(ErrorCode::usage, "the body is not a JSON object");
  body.members_ = std::move(value.get_object());
  return body;
}

Expected<std::string> Body::take_text(std::string_view name, std::string fallback) {
  known_.emplace_back(name);
  const json::value* value = members_.if_contains(name);
  if (value == nullptr) return fallback;
  if (!value->is_string()) return fail(ErrorCode::usage, "'" + std::string(name) + "' is not a text");
  std::string text(value->get_string());
  members_.erase(name);
  return text;
}

Expected<bool> Body::take_flag(std::string_view name) {
  known_.emplace_back(name);
  const json::value* value = members_.if_contains(name);
  if (value == nullptr) return false;
  if (!value->is_bool()) return fail(ErrorCode::usage, "'" + std::string(name) + "' is neither true nor false");
  const bool flag = value->get_bool();
  members_.erase(name);
  return flag;
}

Expected<std::int64_t> Body::take_number(std::string_view name, std::int64_t fallback, std::int64_t least,
                                         std::int64_t most) {
  known_.emplace_back(name);
  const json::value* value = members_.if_contains(name);
  if (value == nullptr) return fallback;
  boost::system::error_code error;
  const auto number = value->to_number<std::int64_t>(error);
  if (error || number < least || number > most) {
    return fail(ErrorCode::usage, "'" + std::string(name) + "' is not a whole number from " + std::to_string(least) + " to " +
                                      std::to_string(most));
  }
  members_.erase(name);
  return number;
}

Expected<std::vector<std::string>> Body::take_texts(std::string_view name, std::size_t most) {
  known_.emplace_back(name);
  std::vector<std::string> texts;
  const json::value* value = members_.if_contains(name);
  if (value == nullptr) return texts;
  const json::array* list = value->if_array();
  const auto is_text = [](const json::value& element) { return element.is_string(); };
  if (list == nullptr || list->size() > most || !std::ranges::all_of(*list, is_text)) {
    return fail(ErrorCode::usage, "'" + std::string(name) + "' is not a list of at most " + std::to_string(most) + " texts");
  }
  for (const json::value& element : *list) texts.emplace_back(element.get_string());
  members_.erase(name);
  return texts;
}

bool Body::has(std::string_view name) {
  known_.emplace_back(name);
  return members_.contains(name);
}

Expected<void> Body::expect_nothing_else() const {
  if (members_.empty()) return {};
  std::string names;
  for (const std::string& name : known_) names += (names.empty() ? "" : ", ") + name;
  return fail(ErrorCode::usage, "unknown member '" + std::string(members_.begin()->key()).substr(0, 100) +
                                    "'; known here: " + (names.empty() ? "none" : names));
}

Expected<std::string> take_reason(Body& body) {
  auto reason = body.take_text("reason", "");
  if (!reason) return reason;
  if (reason->size() > reason_limit) {
    return fail(ErrorCode::usage, "the reason has " + std::to_string(reason->size()) + " bytes, at most " +
                                      std::to_string(reason_limit) + " are kept");
  }
  if (!is_printable(*reason)) {
    return fail(ErrorCode::usage, "the reason contains control characters; one line of text is expected");
  }
  return reason;
}

}  // namespace dualdeploy::control
