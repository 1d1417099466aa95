#pragma once

#include <string>

#include "core/error.hpp"

namespace dualdeploy::traffic {

/// For `dualctl rescue`: takes our redirects out of the kernel, whether or not an agent runs. A service whose RPM is not
/// on its front port keeps the way to its RPM. Returns a text of what was done.
[[nodiscard]] Expected<std::string> remove_rules();

}  // namespace dualdeploy::traffic
