#pragma once

#include <string>

namespace dualdeploy::host {

/// Names this boot of the machine: /proc/sys/kernel/random/boot_id, see random(4). Empty if it cannot be read.
[[nodiscard]] std::string boot_id();

}  // namespace dualdeploy::host
