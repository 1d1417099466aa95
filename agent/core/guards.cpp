#include "core/guards.hpp"

#include <utility>

namespace dualdeploy {
namespace {

Guard conflict_guard(const ServiceState& state) {
  Guard guard{.name = "conflict", .text = "no other change in progress"};
  // Putting the saved route back is the agent's own doing and gives way to an operator.
  if (!state.change || state.change->kind == RecordKind::restore) return guard;
  guard.passed = false;
  guard.text = in_progress(*state.change);
  return guard;
}

/// One pending confirmation at a time: another route has to wait, except the way to the RPM, or the same route again,
/// which sets a new deadline.
Guard confirm_guard(const ServiceState& state, const Route& to) {
  Guard guard{.name = "confirm", .text = "nothing waits for a confirmation"};
  if (!state.durable.confirm) return guard;
  guard.text = describe(state.durable.route) + " by " + state.durable.confirm->actor.user + " waits for its confirmation";
  if (to == state.durable.route || to.all_rpm()) return guard;
  guard.passed = false;
  guard.text += "; first: dualctl confirm " + state.policy.name + ", or back: dualctl revert " + state.policy.name;
  return guard;
}

std::string with_artifact(const Workload& workload) {
  return workload.artifact.empty() ? "" : " (" + workload.artifact + ")";
}

/// What a handover cannot do.
Guard strategy_guard(const ServiceState& state, const Route& to) {
  Guard guard{.name = "strategy", .text = "redirect: both sides run"};
  if (state.policy.strategy == Strategy::redirect) return guard;
  guard.text = "handover: one side stops, the other starts; open connections end";
  guard.passed = to == Route::to(Side::rpm) || to == Route::to(Side::container);
  if (!guard.passed) guard.text = "with the strategy 'handover' one side has all connections; no share, no testers";
  return guard;
}

Guard parity_guard(const ServiceState& state, const Route& to) {
  Guard guard{.name = "parity", .overruled_by_force = true};
  const Workload& rpm = state.sides[Side::rpm].workload;
  const Workload& container = state.sides[Side::container].workload;
  if (!to.uses(Side::container)) {
    guard.text = "not asked for on the way to the RPM";
    return guard;
  }
  if (!state.policy.image_id.empty() && container.artifact != state.policy.image_id) {
    guard.passed = false;
    guard.text = "the image is " + (container.artifact.empty() ? "unknown" : container.artifact) +
                 ", and the configuration allows only " + state.policy.image_id;
    return guard;
  }
  if (!state.policy.parity) {
    guard.text = "switched off (parity: false)";
    return guard;
  }
  for (const Side side : both_sides) {
    const Workload& workload = state.sides[side].workload;
    const bool silent = !state.sides[side].reported || (workload.state == RunState::unknown && workload.revision.empty());
    if (!silent) continue;
    guard.passed = false;
    guard.may_pass_later = true;
    guard.text = "it is not known yet what is installed: " +
                 std::string(side == Side::rpm ? "systemd" : "the container engine") + " has not answered" +
                 (workload.detail.empty() ? "" : " (" + workload.detail + ")");
    return guard;
  }
  guard.passed = !rpm.revision.empty() && rpm.revision == container.revision;
  if (guard.passed) {
    guard.text = "both sides are revision " + rpm.revision;
    return guard;
  }
  const auto side_text = [](const std::string& what, const Workload& workload, const std::string& missing) {
    return what + with_artifact(workload) + (workload.revision.empty() ? " " + missing : " is revision " + workload.revision);
  };
  guard.text = "the sides are not known to be the same: " +
               side_text("the RPM", rpm, "says no revision (spec file: VCS, or 'revision' of the rpm side)") + ", " +
               side_text("the image", container, "has no label org.opencontainers.image.revision") +
               "; build both from one revision, or --force, or 'parity: false'";
  return guard;
}

}  // namespace

Guard hold_guard(const ServiceState& state) {
  Guard guard{.name = "hold", .text = "no hold"};
  if (!state.durable.hold) return guard;
  guard.passed = false;
  guard.text = "held by " + state.durable.hold->owner.user + ": " + state.durable.hold->reason +
               "; to lift it: dualctl release " + state.policy.name;
  return guard;
}

Guard health_guard(const ServiceState& state, const Route& to) {
  const Side target = to.uses(Side::container) ? Side::container : Side::rpm;
  const SideState& side = state.sides[target];
  const std::string name(name_of(target));
  if (state.policy.strategy == Strategy::handover && !state.effective.uses(target)) {
    const bool possible = side.reported && side.workload.state != RunState::missing && side.workload.state != RunState::unknown;
    return Guard{.name = "health", .passed = possible,
                 .text = possible ? "the " + name + " side is started for it" : "the " + name + " side cannot be started: " +
                                                                                    describe_workload(side.workload),
                 .may_pass_later = true};
  }
  Guard guard{.name = "health", .text = "the " + name + " side is healthy", .may_pass_later = true};
  if (side.verdict == Verdict::healthy) return guard;
  guard.passed = false;
  if (side.verdict == Verdict::sick) {
    guard.text = "the " + name + " side is sick (" + sick_reason(side) + ")";
    if (state.sides[other(target)].verdict == Verdict::healthy) {
      guard.text += " and the other is healthy; --force does not overrule this";
      return guard;
    }
  } else {
    guard.text = "the " + name + " side has not passed a check yet";
    if (side.last_failure) {
      guard.text += ": " + side.last_failure->reason;
    } else if (known_down(side)) {
      guard.text += ": " + describe_workload(side.workload);
    }
  }
  guard.overruled_by_force = true;
  return guard;
}

std::vector<Guard> guards_of_route(const ServiceState& state, const Route& to) {
  return {health_guard(state, to), parity_guard(state, to)};
}

std::vector<Guard> guards_of_flip(const ServiceState& state, const Route& to) {
  std::vector<Guard> guards{hold_guard(state), conflict_guard(state), confirm_guard(state, to), strategy_guard(state, to)};
  for (Guard& guard : guards_of_route(state, to)) guards.push_back(std::move(guard));
  return guards;
}

std::optional<Guard> first_in_the_way(const std::vector<Guard>& guards, bool force) {
  for (const Guard& guard : guards) {
    if (!guard.passed && !(force && guard.overruled_by_force)) return guard;
  }
  return std::nullopt;
}

std::string sick_reason(const SideState& side) {
  if (known_down(side)) return describe_workload(side.workload);
  if (side.last_failure && side.last_failure_at >= side.died_at) return side.last_failure->reason;
  return describe_workload(side.workload);
}

std::string describe_workload(const Workload& workload) {
  std::string text(name_of(workload.state));
  if (workload.state == RunState::running && workload.pid != 0) text += ", pid " + std::to_string(workload.pid);
  if (!workload.detail.empty()) text += ": " + workload.detail;
  return text;
}

std::string in_progress(const Change& change) {
  return "another change is in progress: " + std::string(name_of(change.kind)) + " to " + describe(change.to) + " by " + change.actor.user + " (" +
         std::string(name_of(change.phase)) + ")";
}

bool in_use(const ServiceState& state, Side side) {
  return state.effective.uses(side) || (state.change && state.change->to.uses(side));
}

bool wanted_up(const ServiceState& state, Side side) {
  if (state.policy.strategy == Strategy::handover) {
    if (state.change && state.change->handover) return state.change->handover->to == side;
    return state.effective.uses(side);
  }
  if (side == Side::rpm || state.policy.standby == Standby::warm) return true;
  const bool failing_over = state.policy.rpm_unhealthy == RpmUnhealthy::failover &&
                            state.sides[Side::rpm].verdict == Verdict::sick;
  return in_use(state, side) || state.durable.route.uses(side) || failing_over;
}

}  // namespace dualdeploy
