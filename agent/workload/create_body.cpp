#include <boost/json.hpp>
#include <cstdint>

#include "workload/container_side.hpp"

namespace dualdeploy::workload {

namespace json = boost::json;

namespace {

/// FNV-1a, 64 bits: tells configurations apart, promises nothing more.
std::string fingerprint(const std::string& text) {
  std::uint64_t hash = 14'695'981'039'346'656'037U;
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 1'099'511'628'211U;
  }
  std::string hex;
  for (int shift = 60; shift >= 0; shift -= 4) hex += "0123456789abcdef"[(hash >> static_cast<unsigned>(shift)) & 15U];
  return hex;
}

json::array array_of(const std::vector<std::string>& texts) {
  json::array array;
  for (const std::string& text : texts) array.emplace_back(text);
  return array;
}

json::object object_of(const std::map<std::string, std::string>& texts) {
  json::object object;
  for (const auto& [key, value] : texts) object[key] = value;
  return object;
}

/// "/path:options" as {"/path": "options"}.
json::object tmpfs_of(const std::vector<std::string>& mounts) {
  json::object object;
  for (const std::string& mount : mounts) {
    const std::size_t colon = mount.find(':');
    object[mount.substr(0, colon)] = colon == std::string::npos ? "" : mount.substr(colon + 1);
  }
  return object;
}

/// Without the prefix CAP_, which engines before 19.03 do not take.
json::array capabilities_of(const std::vector<std::string>& names) {
  json::array array;
  for (const std::string& name : names) array.emplace_back(name.starts_with("CAP_") ? name.substr(4) : name);
  return array;
}

json::object host_config(const config::ContainerSide& config) {
  json::object host{{"NetworkMode", "host"}, {"RestartPolicy", json::object{{"Name", "no"}}}};
  if (config.memory_bytes > 0) host["Memory"] = config.memory_bytes;
  if (config.pids_limit > 0) host["PidsLimit"] = config.pids_limit;
  if (config.read_only_root) host["ReadonlyRootfs"] = true;
  if (config.init) host["Init"] = true;
  if (!config.binds.empty()) host["Binds"] = array_of(config.binds);
  if (!config.tmpfs.empty()) host["Tmpfs"] = tmpfs_of(config.tmpfs);
  if (!config.cap_add.empty()) host["CapAdd"] = capabilities_of(config.cap_add);
  if (!config.cap_drop.empty()) host["CapDrop"] = capabilities_of(config.cap_drop);
  if (!config.security_options.empty()) host["SecurityOpt"] = array_of(config.security_options);
  if (!config.log_driver.empty()) {
    host["LogConfig"] = json::object{{"Type", config.log_driver}, {"Config", object_of(config.log_options)}};
  }
  json::array ulimits;
  for (const config::Ulimit& limit : config.ulimits) {
    ulimits.push_back(json::object{{"Name", limit.name}, {"Soft", limit.soft}, {"Hard", limit.hard}});
  }
  if (!ulimits.empty()) host["Ulimits"] = std::move(ulimits);
  return host;
}

}  // namespace

std::string container_name(const std::string& service) { return "dualdeploy-" + service; }

json::object create_body(const std::string& service, const config::ContainerSide& config, const std::string& image_id) {
  json::object body{{"Image", image_id}};
  if (!config.command.empty()) body["Cmd"] = array_of(config.command);
  if (!config.entrypoint.empty()) body["Entrypoint"] = array_of(config.entrypoint);
  json::array environment;
  for (const auto& [name, value] : config.environment) environment.emplace_back(name + "=" + value);
  if (!environment.empty()) body["Env"] = std::move(environment);
  if (!config.user.empty()) body["User"] = config.user;
  body["StopTimeout"] = std::chrono::ceil<std::chrono::seconds>(config.stop_timeout).count();
  body["HostConfig"] = host_config(config);
  json::object labels = object_of(config.labels);
  labels[service_label] = service;
  body["Labels"] = labels;
  labels[config_label] = fingerprint(json::serialize(body));
  body["Labels"] = std::move(labels);
  return body;
}

}  // namespace dualdeploy::workload
