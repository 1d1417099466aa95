#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>

#include "config/config.hpp"
#include "core/service.hpp"

namespace dualdeploy::daemon {

/// Runs a service's hook to its end. No shell; the change is in its environment: DUALDEPLOY_HOOK (before, after),
/// DUALDEPLOY_SERVICE, _CHANGE (flip, revert, auto-revert, ...), _FROM, _TO, _USER, _REASON.
/// Errors: it ended with another status than 0 (with its last line of output), did not end in time, could not be run.
[[nodiscard]] boost::asio::awaitable<Expected<void>> run_hook(std::string service, config::Hooks hooks, action::RunHook what);

}  // namespace dualdeploy::daemon
