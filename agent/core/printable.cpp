#include "core/printable.hpp"

#include <algorithm>

#include "core/utf8.hpp"

namespace dualdeploy {
namespace {

/// The code point of one UTF-8 character (RFC 3629, section 3).
char32_t code_of(std::string_view character) {
  const auto byte = [&character](std::size_t at) { return static_cast<unsigned char>(character[at]); };
  if (character.size() == 1) return byte(0);
  char32_t code = byte(0) & (0xffU >> (character.size() + 1));
  for (std::size_t at = 1; at < character.size(); ++at) code = code << 6 | (byte(at) & 0x3f);
  return code;
}

/// Whether `text` begins with `length` bytes that are one character fit to be shown; 0: with no character at all.
bool is_harmless(std::string_view text, std::size_t length) {
  if (length == 0) return false;
  const char32_t code = code_of(text.substr(0, length));
  const bool control = code < 0x20 || (code >= 0x7f && code < 0xa0);
  const bool turns = (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
  return !control && !turns;
}

}  // namespace

std::string printable(std::string_view text) {
  constexpr std::string_view hex = "0123456789abcdef";
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const std::string_view shown = text.substr(0, std::max<std::size_t>(length, 1));
    if (is_harmless(text, length)) {
      result += shown;
    } else {
      for (const char c : shown) {
        const auto byte = static_cast<unsigned char>(c);
        result += {'\\', 'x', hex[byte >> 4], hex[byte & 0xf]};
      }
    }
    text.remove_prefix(shown.size());
  }
  return result;
}

bool is_printable(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (!is_harmless(text, length)) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace dualdeploy
