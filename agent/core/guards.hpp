#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/service.hpp"

namespace dualdeploy {

/// One reason for which a flip may be refused.
struct Guard {
  std::string name;  ///< "hold", "conflict", "confirm", "strategy", "health", "parity"
  bool passed = true;
  std::string text;  ///< What was found, for people.
  bool overruled_by_force = false;
  bool may_pass_later = false;  ///< Waiting can help.
};

/// All guards of a flip to `to`, in the order in which they refuse.
[[nodiscard]] std::vector<Guard> guards_of_flip(const ServiceState& state, const Route& to);

/// Whether new connections should go where `to` sends them: health and parity, without regard to who asks.
[[nodiscard]] std::vector<Guard> guards_of_route(const ServiceState& state, const Route& to);

/// One of them alone: whether an operator has locked the route.
[[nodiscard]] Guard hold_guard(const ServiceState& state);
/// The first of guards_of_route() alone, which is all that counts for a route that was acknowledged earlier.
[[nodiscard]] Guard health_guard(const ServiceState& state, const Route& to);

/// The first that is in the way; with `force`, of those that it does not overrule.
[[nodiscard]] std::optional<Guard> first_in_the_way(const std::vector<Guard>& guards, bool force);

/// Why the side is not healthy, for people.
[[nodiscard]] std::string sick_reason(const SideState& side);
/// "running, pid 213", "failed: exited with status 1".
[[nodiscard]] std::string describe_workload(const Workload& workload);
/// "another change is in progress: flip to container by alice (applying)".
[[nodiscard]] std::string in_progress(const Change& change);

/// New connections go to this side, or will in a moment.
[[nodiscard]] bool in_use(const ServiceState& state, Side side);
/// Whether the agent keeps the side running now; a cold container only runs while it is needed.
[[nodiscard]] bool wanted_up(const ServiceState& state, Side side);

}  // namespace dualdeploy
