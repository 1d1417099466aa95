#include "state/manifest.hpp"

#include <boost/json.hpp>

#include "state/files.hpp"

namespace dualdeploy::state {

namespace json = boost::json;

namespace {

constexpr std::size_t file_limit = 1024 * 1024;

std::string text(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

}  // namespace

Expected<std::optional<Manifest>> read_manifest(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / manifest_name;
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::optional<Manifest>{};
  auto content = read_file(path, file_limit);
  if (!content) return std::unexpected(content.error());
  boost::system::error_code error;
  const json::value value = json::parse(*content, error);
  const json::object* object = error ? nullptr : value.if_object();
  const json::object* agent = nullptr;
  const json::object* services = nullptr;
  if (object != nullptr) {
    if (const json::value* member = object->if_contains("dualdeploy")) agent = member->if_object();
    if (const json::value* member = object->if_contains("services")) services = member->if_object();
  }
  if (agent == nullptr || services == nullptr || text(*object, "sealed_at").empty()) {
    return fail(path.string() + ": this is not what dualctl seal writes");
  }
  Manifest manifest{text(*object, "sealed_at"), text(*agent, "version"), text(*agent, "revision"), {}};
  for (const auto& [name, entry] : *services) {
    const json::object* about = entry.if_object();
    if (about == nullptr) return fail(path.string() + ": services." + std::string(name) + " is not an object");
    manifest.services[std::string(name)] = {text(*about, "package"), text(*about, "package_revision"), text(*about, "image"),
                                            text(*about, "image_id"), text(*about, "image_revision")};
  }
  return manifest;
}

Expected<void> write_manifest(const std::filesystem::path& directory, const Manifest& manifest) {
  json::object services;
  for (const auto& [name, service] : manifest.services) {
    services[name] = json::object{{"package", service.package},
                                  {"package_revision", service.package_revision},
                                  {"image", service.image},
                                  {"image_id", service.image_id},
                                  {"image_revision", service.image_revision}};
  }
  const json::object object{{"sealed_at", manifest.sealed_at},
                            {"dualdeploy", json::object{{"version", manifest.version}, {"revision", manifest.revision}}},
                            {"services", std::move(services)}};
  return write_atomically(directory / manifest_name, json::serialize(object) + "\n");
}

}  // namespace dualdeploy::state
