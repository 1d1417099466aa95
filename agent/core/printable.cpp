#include "core/printable.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>

namespace dualdeploy {
namespace {

struct Character {
  char32_t code;
  std::size_t length;
};

/// The UTF-8 character that a text begins with (RFC 3629: neither too long a form, nor a surrogate, nor beyond U+10FFFF).
std::optional<Character> first_of(std::string_view text) {
  const auto byte = [&text](std::size_t at) { return static_cast<unsigned char>(text[at]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return Character{first, 1};
  const std::size_t length = first >= 0xf0 ? 4 : (first >= 0xe0 ? 3 : 2);
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return std::nullopt;
  char32_t code = first & (0xffU >> (length + 1));
  for (std::size_t at = 1; at < length; ++at) {
    if ((byte(at) & 0xc0) != 0x80) return std::nullopt;
    code = code << 6 | (byte(at) & 0x3f);
  }
  constexpr char32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return std::nullopt;
  return Character{code, length};
}

bool is_harmless(char32_t code) {
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
    const auto character = first_of(text);
    const std::size_t length = character ? character->length : 1;
    if (character && is_harmless(character->code)) {
      result += text.substr(0, length);
    } else {
      for (const char c : text.substr(0, length)) {
        const auto byte = static_cast<unsigned char>(c);
        result += {'\\', 'x', hex[byte >> 4], hex[byte & 0xf]};
      }
    }
    text.remove_prefix(length);
  }
  return result;
}

bool is_printable(std::string_view text) {
  while (!text.empty()) {
    const auto character = first_of(text);
    if (!character || !is_harmless(character->code)) return false;
    text.remove_prefix(character->length);
  }
  return true;
}

}  // namespace dualdeploy
