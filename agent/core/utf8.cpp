#include "core/utf8.hpp"

#include <array>
#include <cstdint>

namespace dualdeploy {
namespace {

/// A row of the table of RFC 3629, section 4: the second byte has limits of its own, all after it have 80 to BF.
struct Row {
  std::uint8_t first_low, first_high, second_low, second_high;
  std::size_t length;
};
constexpr std::array<Row, 8> rows{{{0xc2, 0xdf, 0x80, 0xbf, 2},
                                   {0xe0, 0xe0, 0xa0, 0xbf, 3},
                                   {0xe1, 0xec, 0x80, 0xbf, 3},
                                   {0xed, 0xed, 0x80, 0x9f, 3},
                                   {0xee, 0xef, 0x80, 0xbf, 3},
                                   {0xf0, 0xf0, 0x90, 0xbf, 4},
                                   {0xf1, 0xf3, 0x80, 0xbf, 4},
                                   {0xf4, 0xf4, 0x80, 0x8f, 4}}};

bool is_between(char c, std::uint8_t low, std::uint8_t high) {
  const auto byte = static_cast<std::uint8_t>(c);
  return byte >= low && byte <= high;
}

}  // namespace

std::size_t utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  if (is_between(text.front(), 0x00, 0x7f)) return 1;
  for (const Row& row : rows) {
    if (!is_between(text.front(), row.first_low, row.first_high)) continue;
    if (text.size() < row.length || !is_between(text[1], row.second_low, row.second_high)) return 0;
    for (std::size_t index = 2; index < row.length; ++index) {
      if (!is_between(text[index], 0x80, 0xbf)) return 0;
    }
    return row.length;
  }
  return 0;
}

std::string repaired_utf8(std::string text) {
  std::string_view rest = text;
  while (!rest.empty() && utf8_length(rest) != 0) rest.remove_prefix(utf8_length(rest));
  if (rest.empty()) return text;
  std::string repaired(text, 0, text.size() - rest.size());
  while (!rest.empty()) {
    const std::size_t length = utf8_length(rest);
    repaired += length == 0 ? std::string_view("\xef\xbf\xbd") : rest.substr(0, length);
    rest.remove_prefix(length == 0 ? 1 : length);
  }
  return repaired;
}

}  // namespace dualdeploy
