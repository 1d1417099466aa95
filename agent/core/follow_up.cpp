#include <algorithm>

#include "core/decision.hpp"

namespace dualdeploy {

using Phase = Change::Phase;

void Decision::follow_up() {
  if (in_use(state_, Side::container)) state_.container_used_at = now_;
  find_holder();
  look_at_handover();
  revert_if_container_sick();
  expire_unconfirmed();
  fail_over();
  raise_alarms();
  go_on_waiting();
  restore_saved_route();
  for (const Side which : both_sides) supervise(which);
  rest_if_cold();
  clear_the_port();
  retry_kernel();
  release_front();
  retry_save();
}

bool Decision::heading_for_container() const {
  if (!state_.change || !state_.change->to.uses(Side::container)) return false;
  switch (state_.change->phase) {
    case Phase::noting:
    case Phase::applying:
    case Phase::handing_over:
    case Phase::proving:
    case Phase::committing: return true;
    case Phase::waiting:
    case Phase::asking:
    case Phase::inspecting:
    case Phase::undoing: return false;
  }
  return false;
}

void Decision::revert_if_container_sick() {
  if (state_.holder_unknown || (state_.change && state_.change->handover)) return;  // It has its own way back.
  const bool on_container = state_.effective.uses(Side::container) || heading_for_container();
  if (!on_container || state_.sides[Side::container].verdict != Verdict::sick) return;
  if (state_.sides[Side::rpm].verdict == Verdict::sick) return;  // Never fail closed.
  if (going_home()) return;
  if (state_.repair_to && state_.repair_to->all_rpm() && !heading_for_container()) return;
  const std::string why = "container: " + sick_reason(side(Side::container));
  supersede("the container became sick meanwhile");
  state_.change = begin(RecordKind::auto_revert, Route{}, Actor{}, why);
  state_.failover_latched = true;
  apply_change();
}

/// A change brings everything to the RPM and waits for nothing else, such as the disk, any more.
bool Decision::going_home() const {
  return state_.change && state_.change->to.all_rpm() && (state_.change->phase == Phase::applying || state_.change->handover);
}

void Decision::expire_unconfirmed() {
  if (!state_.durable.confirm || now_ < state_.durable.confirm->deadline) return;
  if (state_.change && has_begun(*state_.change)) return;
  supersede("a flip that was to be confirmed ran out meanwhile");
  const Confirm pending = *state_.durable.confirm;
  Route back_to = pending.back_to;
  std::string why = "not confirmed in time";
  if (const Guard health = health_guard(state_, back_to); !health.passed && back_to.uses(Side::container)) {
    why += "; " + describe(back_to) + " is not possible now: " + health.text;
    back_to = Route{};
  }
  state_.change = begin(RecordKind::expire, back_to, pending.actor, std::move(why));
  apply_change();
}

void Decision::fail_over() {
  if (state_.policy.rpm_unhealthy != RpmUnhealthy::failover || now_ < state_.failover_at) return;
  if (state_.failover_latched || state_.rpm_chosen || state_.stopping) return;
  if (state_.change || state_.repair_to || state_.durable.hold || state_.durable.confirm) return;
  if (state_.sides[Side::rpm].verdict != Verdict::sick || !state_.effective.uses(Side::rpm)) return;
  const Route to = Route::to(Side::container);
  if (first_in_the_way(guards_of_route(state_, to), false)) return;
  state_.change = begin(RecordKind::failover, to, Actor{}, "rpm: " + sick_reason(side(Side::rpm)));
  apply_change();
}

void Decision::raise_alarms() {
  const bool both_sick = state_.sides[Side::rpm].verdict == Verdict::sick &&
                         state_.sides[Side::container].verdict == Verdict::sick;
  if (both_sick && !state_.both_sick_alarm) {
    note({.kind = RecordKind::alarm, .from = state_.effective, .to = state_.effective,
          .message = "both sides look sick; the route stays at " + describe(state_.effective),
          .result = Result::failed});
  }
  state_.both_sick_alarm = both_sick;
}

void Decision::go_on_waiting() {
  if (!state_.change || state_.change->phase != Phase::waiting) return;
  Change& change = *state_.change;
  const std::optional<Guard> obstacle = first_in_the_way(guards_of_route(state_, change.to), change.force);
  if (!obstacle) {
    start_flip();
    return;
  }
  if (obstacle->may_pass_later && now_ < change.wait_until) return;
  const std::string waited = "waited " + format_duration(now_ - change.begun) + ": " + obstacle->text + "; nothing changed";
  const Error why{obstacle->may_pass_later ? ErrorCode::timed_out : ErrorCode::refused, waited};
  note(record_of(change, obstacle->may_pass_later ? Result::failed : Result::refused, why.message));
  answer_all(change, why);
  state_.change.reset();
}

void Decision::restore_saved_route() {
  if (state_.change || state_.repair_to || state_.holder_unknown || state_.durable.route == state_.effective) return;
  if (now_ < state_.restore_at || state_.stopping) return;
  // Acknowledged earlier, past all guards: only health is asked again.
  if (!health_guard(state_, state_.durable.route).passed) return;
  state_.change = begin(RecordKind::restore, state_.durable.route, Actor{}, "the saved route");
  apply_change();
}

void Decision::supervise(Side which) {
  SideState& state = side(which);
  if (!state.reported || state.operating || !wanted_up(state_, which)) return;
  if (state_.holder_unknown || (state_.change && state_.change->handover)) return;
  const SidePolicy& rules = policy(which);
  const bool down = known_down(state);
  const bool ill = fails_while_running(which);
  const bool replace = !down && state.workload.outdated && !in_use(state_, which);
  if (!down && !ill && !replace) return;
  if (now_ < state.not_before) return;
  if (state.attempts >= rules.restart_limit) {
    state.attempts = 0;
    state.not_before = now_ + rules.restart_rest;
    note({.kind = RecordKind::alarm, .side = which,
          .message = "started " + std::to_string(rules.restart_limit) + " times without getting healthy; next try in " +
                     format_duration(rules.restart_rest),
          .result = Result::failed});
    return;
  }
  ++state.attempts;
  ++state.starts;
  state.operating = true;
  // What cannot be started (no image, no unit) is looked for again, at the slowest pace.
  if (state.workload.state == RunState::missing) {
    state.attempts = 0;
    state.not_before = now_ + rules.restart_delay_max;
  } else {
    note({.kind = RecordKind::restart, .side = which,
          .message = std::string(down ? "starting" : "restarting") + " (" + std::to_string(state.attempts) + " of " +
                     std::to_string(rules.restart_limit) + "): " +
                     (ill ? sick_reason(state) : describe_workload(state.workload))});
  }
  actions_.emplace_back(action::Operate{which, down ? Operation::start : Operation::restart});
}

/// A cold container ends when it has not been used for a while; until then its last connections can finish.
void Decision::rest_if_cold() {
  SideState& container = side(Side::container);
  if (state_.policy.strategy == Strategy::handover) return;
  if (!container.reported || container.operating || known_down(container) || wanted_up(state_, Side::container)) return;
  if (container.workload.state == RunState::unknown || now_ < state_.container_used_at + state_.policy.stop_after) return;
  if (now_ < container.not_before) return;
  container.operating = true;
  note({.kind = RecordKind::restart, .side = Side::container,
        .message = "stopping: cold standby, not used for " + format_duration(state_.policy.stop_after)});
  actions_.emplace_back(action::Operate{Side::container, Operation::stop});
}

/// With one port: who has it and should not (its stop failed, say, because the engine was silent) keeps the other from
/// starting for ever.
void Decision::clear_the_port() {
  if (state_.policy.strategy != Strategy::handover || state_.holder_unknown || (state_.change && state_.change->handover)) return;
  const Side holder = state_.effective.uses(Side::container) ? Side::container : Side::rpm;
  SideState& in_the_way = side(other(holder));
  if (!known_down(side(holder)) || in_the_way.workload.state != RunState::running) return;
  if (in_the_way.operating || now_ < in_the_way.not_before) return;
  in_the_way.operating = true;
  note({.kind = RecordKind::restart, .side = other(holder),
        .message = "stopping: the port is for the " + std::string(name_of(holder)) + ", which is down"});
  actions_.emplace_back(action::Operate{other(holder), Operation::stop});
}

bool Decision::fails_while_running(Side which) const {
  const SideState& side = state_.sides[which];
  return side.workload.state == RunState::running && side.verdict == Verdict::sick &&
         side.failed_in_row >= policy(which).fall && now_ >= side.running_since + policy(which).start_period;
}

}  // namespace dualdeploy
