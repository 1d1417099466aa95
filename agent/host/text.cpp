#include "host/text.hpp"

#include <boost/json/serialize.hpp>
#include <fstream>

#include "core/utf8.hpp"

namespace dualdeploy::host {

std::string first_line(std::string_view text) { return std::string(text.substr(0, text.find('\n'))); }

std::string first_line_of(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  return line;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blank = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(blank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(blank) - begin + 1);
}

std::string text_of(const boost::json::object& object, std::string_view member) {
  const boost::json::value* value = object.if_contains(member);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

// Outside of texts JSON is ASCII: the whole can be repaired as well as each of them.
std::string json_text(const boost::json::object& object) { return repaired_utf8(boost::json::serialize(object)); }
std::string json_text(const boost::json::value& value) { return repaired_utf8(boost::json::serialize(value)); }

}  // namespace dualdeploy::host
