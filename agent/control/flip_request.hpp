#pragma once

#include <string>

#include "control/api.hpp"
#include "control/request.hpp"

namespace dualdeploy::control {

/// Reads the body of a flip. Members: to (container, rpm), percent (share of that side, default 100), sticky, testers (a
/// list of networks), confirm_within, reason, force, wait, timeout, dry_run. Every error is a `usage` one.
[[nodiscard]] Expected<FlipRequest> read_flip(std::string service, Body body);

}  // namespace dualdeploy::control
