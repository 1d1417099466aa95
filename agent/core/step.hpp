#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/service.hpp"

namespace dualdeploy {

/// The whole decision of one service: what happened at `now` changes the state, and these actions follow, in this order.
/// Pure: the same state, event and time always give the same result.
[[nodiscard]] std::vector<Action> step(ServiceState& state, const Event& event, Instant now);

/// When step() wants an event::Woken at the latest; nothing if only other events matter.
[[nodiscard]] std::optional<Instant> next_wake(const ServiceState& state, Instant now);

/// Why the intended route is not the effective one; empty when it is.
[[nodiscard]] std::string why_not_intended(const ServiceState& state);

/// Whether the service is where it shall be at the agent's start, or has a clear reason why not (promise of READY).
[[nodiscard]] bool settled(const ServiceState& state, Instant now);

/// Whether this is no moment for the agent to end: in a handover neither side may serve, or clients are held.
[[nodiscard]] bool halfway(const ServiceState& state);

/// Whether the change under way still waits for the answer to this ticket; if not, it was superseded.
[[nodiscard]] bool awaits(const ServiceState& state, Ticket ticket);

/// What an operator has to look at, worst first.
[[nodiscard]] std::vector<std::string> alarms(const ServiceState& state);

}  // namespace dualdeploy
