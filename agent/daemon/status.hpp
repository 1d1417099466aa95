#pragma once

#include <boost/json/object.hpp>

#include "core/time.hpp"
#include "daemon/service_runner.hpp"

namespace dualdeploy::daemon {

/// One service as `dualctl status --json` shows it; field names are stable.
[[nodiscard]] boost::json::object status_of(const ServiceRunner& runner,
                                            const Expected<PerSide<std::size_t>>& connections, Instant now);
/// How many connections each side has; null if they could not be counted.
[[nodiscard]] boost::json::value connections_of(const Expected<PerSide<std::size_t>>& connections);

}  // namespace dualdeploy::daemon
