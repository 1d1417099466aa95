#pragma once

#include <filesystem>

namespace dualdeploy::daemon {

/// The daemon, from its configuration to its end. Returns the exit status: 0 after SIGTERM or SIGINT; 78 (EX_CONFIG of
/// sysexits.h) for a configuration that cannot be used; 1 for anything else.
[[nodiscard]] int run(const std::filesystem::path& config_file, const std::filesystem::path& control_socket);

}  // namespace dualdeploy::daemon
