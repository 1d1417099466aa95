#include "state/manifest.hpp"

#include <boost/json.hpp>

#include "host/text.hpp"
#include "state/files.hpp"

namespace dualdeploy::state {

namespace json = boost::json;
namespace fs = std::filesystem;

namespace {

constexpr std::size_t file_limit = 1024 * 1024;

/// Members of one object; what is not as it should be is remembered, the first of it. Members that are not asked for
/// are a later version's.
class Members {
 public:
  Members(const json::value& value, std::string place, std::string& wrong) : place_(std::move(place)), wrong_(wrong) {
    object_ = value.if_object();
    if (object_ == nullptr) complain("is not an object", "");
  }
  [[nodiscard]] std::string text(std::string_view name) {
    const json::value* found = member(name);
    if (found == nullptr) return {};
    if (found->is_string()) return std::string(found->get_string());
    complain("is not a text", name);
    return {};
  }
  [[nodiscard]] const json::value& value(std::string_view name) {
    static const json::value none = json::object();
    const json::value* found = member(name);
    return found != nullptr ? *found : none;
  }

 private:
  [[nodiscard]] const json::value* member(std::string_view name) {
    const json::value* found = object_ != nullptr ? object_->if_contains(name) : nullptr;
    if (found == nullptr) complain("is missing", name);
    return found;
  }
  void complain(const std::string& what, std::string_view name) {
    if (!wrong_.empty()) return;
    const std::string path = place_ + (place_.empty() || name.empty() ? "" : ".") + std::string(name);
    wrong_ = (path.empty() ? "it" : "'" + path + "'") + " " + what;
  }

  const json::object* object_ = nullptr;
  std::string place_;
  std::string& wrong_;
};

Expected<Manifest> manifest_from_json(const json::value& value) {
  std::string wrong;
  Members root(value, "", wrong);
  Members agent(root.value("dualdeploy"), "dualdeploy", wrong);
  Manifest manifest{root.text("sealed_at"), agent.text("version"), agent.text("revision"), {}};
  const json::value& services = root.value("services");
  const Members checked(services, "services", wrong);
  if (!wrong.empty()) return fail(wrong);
  for (const auto& [name, entry] : services.get_object()) {
    Members about(entry, "services." + std::string(name), wrong);
    manifest.services[std::string(name)] = {about.text("package"), about.text("package_revision"), about.text("image"),
                                            about.text("image_id"), about.text("image_revision")};
  }
  if (!wrong.empty()) return fail(wrong);
  return manifest;
}

json::object to_json(const Manifest& manifest) {
  json::object services;
  for (const auto& [name, service] : manifest.services) {
    services[name] = json::object{{"package", service.package},
                                  {"package_revision", service.package_revision},
                                  {"image", service.image},
                                  {"image_id", service.image_id},
                                  {"image_revision", service.image_revision}};
  }
  return json::object{{"sealed_at", manifest.sealed_at},
                      {"dualdeploy", json::object{{"version", manifest.version}, {"revision", manifest.revision}}},
                      {"services", std::move(services)}};
}

}  // namespace

Expected<std::optional<Manifest>> read_manifest(const fs::path& directory) {
  const fs::path path = directory / manifest_name;
  std::error_code ignored;  // Of anything but its absence, reading says more.
  if (fs::symlink_status(path, ignored).type() == fs::file_type::not_found) return std::optional<Manifest>{};
  auto content = read_file(path, file_limit);
  if (!content) return std::unexpected(content.error());
  auto manifest = parse_manifest(*content);
  if (!manifest) return std::unexpected(std::move(manifest.error()).within(path.string()));
  return std::move(*manifest);
}

Expected<Manifest> parse_manifest(std::string_view text) {
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  if (error) return fail("it is not JSON: " + error.message());
  auto manifest = manifest_from_json(value);
  if (!manifest) return std::unexpected(std::move(manifest.error()).within("this is not what dualctl seal writes"));
  return manifest;
}

std::string print_manifest(const Manifest& manifest) { return host::json_text(to_json(manifest)) + "\n"; }

Expected<void> write_manifest(const fs::path& directory, const Manifest& manifest) {
  return write_atomically(directory / manifest_name, print_manifest(manifest));
}

}  // namespace dualdeploy::state
