#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace dualdeploy::cli {

/// One file or directory that belongs to one machine and not into an image of it.
struct Leftover {
  std::filesystem::path path;
  bool emptied = false;  ///< Emptied rather than removed: it has to be there.
};

struct WipeOptions {
  std::filesystem::path root = "/";  ///< Another one in tests.
  std::filesystem::path state_directory = "/var/lib/dualdeploy";
  bool keep_authorized_keys = false;
};

/// What there is of it on this machine: the agent's state but for the manifest, machine-id, ssh host keys and who may log
/// in, shell histories, the engine's identity, cloud-init's memory, random seeds, leases, logs. In /home and /root nothing
/// is followed that leads elsewhere.
[[nodiscard]] std::vector<Leftover> find_leftovers(const WipeOptions& options);

/// Empty: it is gone (or empty). Otherwise why not.
[[nodiscard]] std::string wipe(const Leftover& leftover);

}  // namespace dualdeploy::cli
