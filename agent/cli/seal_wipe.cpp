#include "cli/seal_wipe.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <system_error>

#include "state/manifest.hpp"

namespace dualdeploy::cli {

namespace fs = std::filesystem;

namespace {

using Leftovers = std::vector<Leftover>;

bool there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

void add(Leftovers& leftovers, const fs::path& path) {
  if (there(path)) leftovers.push_back({path, false});
}

void add_emptied(Leftovers& leftovers, const fs::path& path) {
  std::error_code ignored;
  if (fs::is_regular_file(fs::symlink_status(path, ignored)) && fs::file_size(path, ignored) > 0) leftovers.push_back({path, true});
}

/// What is in a directory, but for some names.
template <class Wanted>
void add_entries(Leftovers& leftovers, const fs::path& directory, const Wanted& wanted) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    if (wanted(entry.path().filename().string())) leftovers.push_back({entry.path(), false});
  }
}

constexpr auto everything = [](const std::string&) { return true; };

/// Only what really lies in that home: who owns it may have made links to anywhere.
void add_of_home(Leftovers& leftovers, const fs::path& home, bool keep_authorized_keys) {
  constexpr std::array histories{".bash_history", ".zsh_history", ".python_history", ".lesshst",
                                 ".viminfo",      ".mysql_history", ".psql_history",  ".wget-hsts"};
  std::error_code ignored;
  if (!fs::is_directory(fs::symlink_status(home, ignored))) return;
  for (const char* history : histories) add(leftovers, home / history);
  if (!keep_authorized_keys && fs::is_directory(fs::symlink_status(home / ".ssh", ignored))) {
    add(leftovers, home / ".ssh" / "authorized_keys");
  }
}

}  // namespace

std::vector<Leftover> find_leftovers(const WipeOptions& options) {
  const fs::path& root = options.root;
  Leftovers leftovers;
  add_entries(leftovers, options.state_directory, [](const std::string& name) { return name != state::manifest_name; });
  add_emptied(leftovers, root / "etc/machine-id");
  // Often a link to the other; then it may stay.
  std::error_code ignored;
  if (fs::is_regular_file(fs::symlink_status(root / "var/lib/dbus/machine-id", ignored))) add(leftovers, root / "var/lib/dbus/machine-id");
  add_entries(leftovers, root / "etc/ssh", [](const std::string& name) { return name.starts_with("ssh_host_") && name.contains("key"); });
  add_of_home(leftovers, root / "root", options.keep_authorized_keys);
  std::error_code error;
  for (const auto& home : fs::directory_iterator(root / "home", error)) add_of_home(leftovers, home.path(), options.keep_authorized_keys);
  for (const char* path : {"var/lib/docker/engine-id", "etc/docker/key.json", "var/lib/systemd/random-seed", "var/lib/systemd/credential.secret",
                           "var/lib/cloud/instance", "var/lib/cloud/instances", "var/lib/cloud/data", "var/lib/cloud/sem",
                           "etc/udev/rules.d/70-persistent-net.rules"}) {
    add(leftovers, root / path);
  }
  for (const char* directory : {"var/lib/dhclient", "var/lib/dhcp", "var/log/journal"}) add_entries(leftovers, root / directory, everything);
  add_entries(leftovers, root / "var/lib/NetworkManager", [](const std::string& name) { return name.ends_with(".lease"); });
  add_entries(leftovers, root / "var/log", [](const std::string& name) { return name.starts_with("cloud-init") && name.ends_with(".log"); });
  for (const char* log : {"wtmp", "btmp", "lastlog"}) add_emptied(leftovers, root / "var/log" / log);
  return leftovers;
}

std::string wipe(const Leftover& leftover) {
  std::error_code error;
  if (leftover.emptied) {
    fs::resize_file(leftover.path, 0, error);
  } else {
    fs::remove_all(leftover.path, error);  // Removes a link, never what it leads to.
  }
  return error ? leftover.path.string() + ": " + error.message() : "";
}

}  // namespace dualdeploy::cli
