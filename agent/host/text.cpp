#include "host/text.hpp"

#include <boost/json/value.hpp>
#include <fstream>

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

}  // namespace dualdeploy::host
