#pragma once

#include <string>

namespace dualdeploy::host {

/// Names this boot of the machine: the kernel's boot id (random(4)) and when its first process began, since a machine that
/// is a container boots more often than its kernel.
[[nodiscard]] std::string boot_id();

}  // namespace dualdeploy::host
