#pragma once

#include <boost/json/object.hpp>

#include "core/time.hpp"
#include "daemon/service_runner.hpp"

namespace dualdeploy::daemon {

/// One service as `dualctl status --json` shows it; field names are stable.
[[nodiscard]] boost::json::object status_of(const ServiceRunner& runner, Instant now);

}  // namespace dualdeploy::daemon
