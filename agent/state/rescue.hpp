#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "core/types.hpp"

namespace dualdeploy::state {

/// For `dualctl rescue` while no agent runs: every saved route becomes the RPM, so that the next start of the agent
/// does not bring a redirect back. Holds stay. Returns a text of what was done.
[[nodiscard]] Expected<std::string> forget_routes(const std::filesystem::path& directory, std::string_view reason,
                                                  const Actor& actor);

}  // namespace dualdeploy::state
