#include "instance/remembered.hpp"

#include <algorithm>
#include <boost/json.hpp>

#include "host/boot.hpp"
#include "host/text.hpp"
#include "state/files.hpp"

namespace dualdeploy::instance {

namespace json = boost::json;
namespace fs = std::filesystem;

namespace {
constexpr const char* file_name = "instance.json";
constexpr std::size_t file_limit = 4 * 1024;
}  // namespace

bool is_instance_id(std::string_view text) {
  return !text.empty() && text.size() <= 64 &&
         std::ranges::all_of(text, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
}

std::optional<Remembered> remembered(const fs::path& directory) {
  const auto content = state::read_file(directory / file_name, file_limit);
  return content ? parse_remembered(*content) : std::nullopt;
}

std::optional<Remembered> parse_remembered(std::string_view text) {
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  if (error || !value.is_object()) return std::nullopt;
  const json::object& object = value.get_object();
  Remembered found{host::text_of(object, "instance_id"), host::text_of(object, "boot_id"), host::text_of(object, "routes")};
  if (!is_instance_id(found.instance_id)) return std::nullopt;
  return found;
}

Expected<void> remember(const fs::path& directory, const std::string& instance_id, const std::string& routes) {
  if (!is_instance_id(instance_id)) return fail("'" + instance_id.substr(0, 50) + "' is no instance-id");
  const json::object object{{"instance_id", instance_id}, {"boot_id", host::boot_id()}, {"routes", routes}};
  return state::write_atomically(directory / file_name, host::json_text(object) + "\n");
}

}  // namespace dualdeploy::instance
