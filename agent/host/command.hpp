#pragma once

#include <sys/types.h>

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/time.hpp"

namespace dualdeploy::host {

/// A program to run. No shell is involved.
struct Command {
  std::vector<std::string> argv;  ///< argv[0] is an absolute path or found on PATH.
  std::string input;              ///< Written to its standard input, then closed.
  std::vector<std::string> environment;  ///< "NAME=VALUE", added to a minimal environment (PATH, LANG=C).
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  std::function<void(pid_t)> on_start;  ///< Told its pid as soon as it has one; not called if it cannot be started.
};

struct CommandResult {
  int exit_status = -1;  ///< Its exit status; 128 + N if it died of signal N.
  std::string output;    ///< Standard output, cut at the limit.
  std::string error;     ///< Standard error, cut at 64 KiB.
  bool output_cut = false;
};

struct CommandLimits {
  Milliseconds deadline{5'000};           ///< SIGTERM at the deadline, SIGKILL half a second later.
  std::size_t output_bytes = 64 * 1024;
};

/// Whether there is such a program where run_command() looks for it.
[[nodiscard]] bool is_installed(const std::string& program);

/// Runs a program to its end. Errors: `failed` when it could not be started, `timed_out` when the deadline passed (the
/// program is gone by then). A non-zero exit status is a result, not an error.
[[nodiscard]] boost::asio::awaitable<Expected<CommandResult>> run_command(Command command, CommandLimits limits = {});

}  // namespace dualdeploy::host
