#pragma once

#include <cstddef>
#include <string>
#include <string_view>

/// UTF-8 as RFC 3629, section 4, has it: no overlong forms, no surrogates, nothing above U+10FFFF.
namespace dualdeploy {

/// Bytes of the character that `text` begins with, or 0 if it begins with none.
[[nodiscard]] std::size_t utf8_length(std::string_view text);

/// With U+FFFD for every byte that is of no character.
[[nodiscard]] std::string repaired_utf8(std::string text);

}  // namespace dualdeploy
