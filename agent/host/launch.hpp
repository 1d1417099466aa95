#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace dualdeploy::host {

/// A program to start, and what its process begins with.
struct Launch {
  std::string program;                   ///< A path.
  std::vector<std::string> arguments;    ///< Without the program's name.
  std::vector<std::string> environment;  ///< NAME=value; all of it.
  /// Its standard streams; no other descriptor stays open.
  int in = -1;
  int out = -1;
  int err = -1;
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
};

/// Starts the program, in a process group of its own and with no signal blocked or caught, and returns its pid once it has
/// replaced the copy of ours (vfork(2), execve(2)); it is the caller's to wait for. Errors: errno of what failed.
///
/// Boost.Process' launchers fork, which copies the page tables of an agent with a thousand services, and have the copied event
/// loop register all its descriptors anew, for a program that is executed at once: of a flip, a third. (Its vfork_launcher does
/// the latter in the memory that it shares with us.)
[[nodiscard]] Expected<pid_t> launch(const Launch& what);

}  // namespace dualdeploy::host
