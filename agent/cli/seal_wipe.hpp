#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace dualdeploy::cli {

/// One file or directory that belongs to one machine and not into an image of it.
struct Leftover {
  std::filesystem::path path;
  bool emptied = false;  ///< Emptied rather than removed: it has to be there.
  std::string trouble;   ///< It cannot be looked into, which is all that wipe() then says; nothing is removed.
};

struct WipeOptions {
  std::filesystem::path root = "/";  ///< Another one in tests.
  std::filesystem::path state_directory = "/var/lib/dualdeploy";
  bool keep_authorized_keys = false;
  std::vector<std::filesystem::path> homes;  ///< See home_directories(); absolute, also in tests.
};

/// Of everybody whom getpwent(3) knows, each once.
[[nodiscard]] std::vector<std::filesystem::path> home_directories();

/// What there is of it on this machine: the agent's state but for the manifest, machine-id, ssh host keys and who may
/// log in, shell histories, the engine's identity, cloud-init's memory, random seeds, leases, logs. Within a home
/// directory, which is its owner's to arrange, no link is followed.
[[nodiscard]] std::vector<Leftover> find_leftovers(const WipeOptions& options);
/// What should go and would not, since a link in somebody's home leads to it; a line each.
[[nodiscard]] std::vector<std::string> out_of_reach(const WipeOptions& options);

/// Empty: it is gone (or empty). Otherwise why not.
[[nodiscard]] std::string wipe(const Leftover& leftover);

}  // namespace dualdeploy::cli
