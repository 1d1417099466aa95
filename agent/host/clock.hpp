#pragma once

#include "core/time.hpp"

namespace dualdeploy::host {

/// CLOCK_BOOTTIME (clock_gettime(2)): monotonic, and a suspended machine has aged.
[[nodiscard]] Instant now();

}  // namespace dualdeploy::host
