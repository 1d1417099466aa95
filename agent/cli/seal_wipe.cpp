#include "cli/seal_wipe.hpp"

#include <pwd.h>

#include <algorithm>
#include <array>
#include <set>
#include <system_error>

#include "state/manifest.hpp"

namespace dualdeploy::cli {

namespace fs = std::filesystem;

namespace {

using Leftovers = std::vector<Leftover>;

constexpr std::array histories{".bash_history", ".sh_history",
                               ".ash_history",  ".ksh_history",
                               ".zsh_history",  ".zhistory",
                               ".history",      ".lesshst",
                               ".viminfo",      ".python_history",
                               ".wget-hsts",    ".mysql_history",
                               ".psql_history", ".local/share/fish/fish_history"};
constexpr std::array keys{".ssh/authorized_keys", ".ssh/authorized_keys2"};

/// Anything but its absence is a reason to try to remove it, and to hear why that is not possible.
bool there(const fs::path& path) {
  std::error_code ignored;
  return fs::symlink_status(path, ignored).type() != fs::file_type::not_found;
}

bool is_link(const fs::path& path) {
  std::error_code ignored;
  return fs::is_symlink(fs::symlink_status(path, ignored));
}

void add(Leftovers& leftovers, const fs::path& path) {
  if (there(path)) leftovers.push_back({.path = path});
}

void add_emptied(Leftovers& leftovers, const fs::path& path) {
  std::error_code ignored;
  if (fs::is_regular_file(fs::symlink_status(path, ignored)) && fs::file_size(path, ignored) > 0)
    leftovers.push_back({.path = path, .emptied = true});
}

/// What is in a directory, by name.
template <class Wanted>
void add_entries(Leftovers& leftovers, const fs::path& directory, const Wanted& wanted) {
  std::error_code error;
  for (fs::directory_iterator entry(directory, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    if (wanted(entry->path().filename().string())) leftovers.push_back({.path = entry->path()});
  }
  if (error && error != std::errc::no_such_file_or_directory)
    leftovers.push_back({.path = directory, .trouble = error.message()});
}

auto any_of(std::vector<std::string> prefixes, std::string suffix = "") {
  return [prefixes = std::move(prefixes), suffix = std::move(suffix)](const std::string& name) {
    return name.ends_with(suffix) &&
           std::ranges::any_of(prefixes, [&](const std::string& prefix) { return name.starts_with(prefix); });
  };
}

std::vector<std::string> wanted_of_home(bool keep_authorized_keys) {
  std::vector<std::string> names(histories.begin(), histories.end());
  if (!keep_authorized_keys) names.insert(names.end(), keys.begin(), keys.end());
  return names;
}

/// The link on the way from the home to what is in it; empty: there is none.
fs::path link_on_the_way(const fs::path& home, const fs::path& relative) {
  fs::path place = home;
  for (const fs::path& part : relative.parent_path()) {
    place /= part;
    if (is_link(place)) return place;
  }
  return {};
}

void add_of_home(Leftovers& leftovers, const fs::path& home, bool keep_authorized_keys) {
  for (const std::string& name : wanted_of_home(keep_authorized_keys)) {
    if (link_on_the_way(home, name).empty()) add(leftovers, home / name);
  }
}

/// Only those of clients: a DHCP server's leases are its business, and it does not start without the file.
void add_leases(Leftovers& leftovers, const fs::path& root) {
  for (const char* directory : {"var/lib/dhclient", "var/lib/dhcp"})
    add_entries(leftovers, root / directory, any_of({"dhclient"}));
  for (const char* directory : {"var/lib/dhcpcd", "var/lib/dhcpcd5", "var/lib/NetworkManager"}) {
    add_entries(leftovers, root / directory, any_of({""}, ".lease"));
  }
}

void add_logs(Leftovers& leftovers, const fs::path& root) {
  add_entries(leftovers, root / "var/log/journal", any_of({""}));
  add_entries(leftovers, root / "var/log", any_of({"cloud-init"}, ".log"));
  // Rotated ones go; the others have to be there, or nobody writes them.
  add_entries(leftovers, root / "var/log", any_of({"wtmp-", "wtmp.", "btmp-", "btmp."}));
  for (const char* log : {"wtmp", "btmp", "lastlog"}) add_emptied(leftovers, root / "var/log" / log);
}

}  // namespace

std::vector<fs::path> home_directories() {
  std::set<fs::path> homes;
  ::setpwent();
  while (const passwd* entry = ::getpwent()) {
    if (entry->pw_dir != nullptr && entry->pw_dir[0] == '/') homes.emplace(entry->pw_dir);
  }
  ::endpwent();
  return {homes.begin(), homes.end()};
}

std::vector<Leftover> find_leftovers(const WipeOptions& options) {
  const fs::path& root = options.root;
  Leftovers leftovers;
  add_entries(leftovers, options.state_directory, [](const std::string& name) { return name != state::manifest_name; });
  add_emptied(leftovers, root / "etc/machine-id");
  add_entries(leftovers, root / "etc/ssh",
              [](const std::string& name) { return name.starts_with("ssh_host_") && name.contains("_key"); });
  for (const fs::path& home : options.homes) add_of_home(leftovers, home, options.keep_authorized_keys);
  for (const char* path : {"var/lib/dbus/machine-id", "var/lib/docker/engine-id", "etc/docker/key.json",
                           "var/lib/systemd/random-seed", "var/lib/systemd/credential.secret", "var/lib/cloud/instance",
                           "var/lib/cloud/instances", "var/lib/cloud/data", "var/lib/cloud/sem"}) {
    add(leftovers, root / path);
  }
  add_leases(leftovers, root);
  add_logs(leftovers, root);
  return leftovers;
}

std::vector<std::string> out_of_reach(const WipeOptions& options) {
  std::vector<std::string> lines;
  for (const fs::path& home : options.homes) {
    for (const std::string& name : wanted_of_home(options.keep_authorized_keys)) {
      const fs::path link = link_on_the_way(home, name);
      std::error_code ignored;
      if (link.empty() || !fs::exists(home / name, ignored)) continue;
      lines.push_back((home / name).string() + " would stay in the image: " + link.string() +
                      " is a link, and is not followed: remove it by hand");
    }
  }
  return lines;
}

std::string wipe(const Leftover& leftover) {
  if (!leftover.trouble.empty()) return leftover.path.string() + ": " + leftover.trouble;
  std::error_code error;
  if (leftover.emptied) {
    fs::resize_file(leftover.path, 0, error);
  } else {
    fs::remove_all(leftover.path, error);  // Removes a link, never what it leads to.
  }
  return error ? leftover.path.string() + ": " + error.message() : "";
}

}  // namespace dualdeploy::cli
