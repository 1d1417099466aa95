#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <filesystem>
#include <string>
#include <string_view>

/// Small readings of what programs, files and peers say.
namespace dualdeploy::host {

/// Up to the first line feed: programs say the most important thing first.
[[nodiscard]] std::string first_line(std::string_view text);
/// Of a file; empty if it cannot be read.
[[nodiscard]] std::string first_line_of(const std::filesystem::path& file);
/// Without blanks and line feeds at either end.
[[nodiscard]] std::string_view trimmed(std::string_view text);
/// A member that is a text; empty if there is none.
[[nodiscard]] std::string text_of(const boost::json::object& object, std::string_view member);
/// JSON that every reader takes: what hooks, engines and users say need not be UTF-8, and would make a state file or an
/// answer that nobody can read back. Bytes that are none become U+FFFD.
[[nodiscard]] std::string json_text(const boost::json::object& object);
[[nodiscard]] std::string json_text(const boost::json::value& value);

}  // namespace dualdeploy::host
