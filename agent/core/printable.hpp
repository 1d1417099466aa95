#pragma once

#include <string>
#include <string_view>

namespace dualdeploy {

/// Text of others (a program's output, an image's label, a process's name), fit for a terminal and for one line of a log:
/// control characters (C0, DEL, C1), what turns the direction of text or ends a line (Unicode's U+2028 to U+202E, U+2066 to
/// U+2069), and bytes that are no UTF-8, each byte as \xNN. All else is left as it is.
[[nodiscard]] std::string printable(std::string_view text);

/// Whether printable() would leave it alone.
[[nodiscard]] bool is_printable(std::string_view text);

}  // namespace dualdeploy
