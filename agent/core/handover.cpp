#include <algorithm>
#include <utility>

#include "core/decision.hpp"

namespace dualdeploy {

using Phase = Change::Phase;
using Step = Handover::Step;

namespace {

/// What the steps before and after `healthy` may take. The kernel lets connections in again when it is over, agent or no agent.
constexpr Milliseconds hold_margin{30'000};
constexpr Milliseconds release_retry{500};
/// So long an agent that is about to end waits for a new side to get healthy.
constexpr Milliseconds patience_at_the_end{5'000};

Side side_of(const Route& route) { return route.uses(Side::container) ? Side::container : Side::rpm; }

}  // namespace

Milliseconds lease_of_hold(const ServicePolicy& policy) { return 2 * policy.handover_deadline + hold_margin; }

/// After a start of the agent: the container has the port only if it was to have it and runs. On a machine that has just
/// booted the unit has it.
void Decision::find_holder() {
  if (!state_.holder_unknown || !side(Side::rpm).reported || !side(Side::container).reported) return;
  const bool engine_silent = side(Side::container).workload.state == RunState::unknown;
  if (engine_silent && known_down(side(Side::rpm))) return;  // The engine will tell; only one of the two has the port.
  state_.holder_unknown = false;
  const bool container_runs = !engine_silent && !known_down(side(Side::container));
  state_.effective = Route::to(container_runs && (state_.durable.route.uses(Side::container) || state_.interrupted)
                                   ? Side::container
                                   : Side::rpm);
  const std::optional<Intent> unfinished = std::exchange(state_.interrupted, std::nullopt);
  if (!unfinished) return;
  if (state_.effective == state_.durable.route && known_down(side(other(side_of(state_.durable.route))))) {
    note_interrupted(*unfinished, state_.durable.route);
  } else {
    finish_interrupted(unfinished, state_.durable.route);
  }
}

void Decision::start_handover() {
  Change& change = *state_.change;
  change.phase = Phase::handing_over;
  change.handover = Handover{.to = side_of(change.to), .held_at = now_};
  const bool fit = side(change.handover->to).verdict == Verdict::healthy || must_happen(change);
  // Nothing to hand over: what this supersedes, if anything, has only begun to hold.
  if (fit && has_port_alone(change.handover->to) && !sides_in_motion_) change.handover->step = Step::release;
  state_.release_ticket.reset();
  take_step();
}

/// The side runs, the other does not, and nobody is about to change that.
bool Decision::has_port_alone(Side which) const {
  const SideState& holder = state_.sides[which];
  const SideState& absent = state_.sides[other(which)];
  return holder.workload.state == RunState::running && !holder.operating && known_down(absent) && !absent.operating;
}

/// Asks for what the present step needs. What is there already is not asked for.
void Decision::take_step() {
  Change& change = *state_.change;
  Handover& handover = *change.handover;
  const Side leaving = other(handover.to);
  const auto operate = [&](Side which, Operation operation) {
    if (side(which).operating) return;  // An earlier one; its end brings us here again.
    side(which).operating = true;
    handover.asked = true;
    actions_.emplace_back(action::Operate{which, operation});
  };
  switch (handover.step) {
    case Step::hold:
    case Step::release:
      handover.asked = true;
      change.ticket = next_ticket();
      actions_.emplace_back(action::HoldFront{change.ticket, handover.step == Step::hold, lease_of_hold(state_.policy)});
      return;
    case Step::stop:
      // A unit that has failed may be one that systemd is about to restart, and has not said so yet.
      if (known_down(side(leaving)) && side(leaving).workload.state != RunState::failed && !side(leaving).operating) {
        next_step();
      } else {
        operate(leaving, Operation::stop);
      }
      return;
    case Step::free:
      handover.asked = true;
      change.ticket = next_ticket();
      actions_.emplace_back(action::AwaitFree{change.ticket, handover.to});
      return;
    case Step::start:
      side(handover.to).verdict = Verdict::unknown;  // What it was the last time says nothing of this one.
      side(handover.to).died_at = now_;
      handover.started_at = now_;
      handover.deadline = now_ + patience_with_new_side();
      operate(handover.to, Operation::start);
      return;
    case Step::healthy: look_at_handover(); return;
  }
}

void Decision::next_step() {
  Handover& handover = *state_.change->handover;
  handover.asked = false;
  if (handover.step == Step::release) {
    end_handover();
    return;
  }
  handover.step = static_cast<Step>(static_cast<int>(handover.step) + 1);
  take_step();
}

/// Whether it is the answer that the present step waits for. Each counts once: the steps that follow may have no ticket of
/// their own.
bool Decision::answers_step(Ticket ticket) {
  if (!state_.change || !state_.change->handover || state_.change->ticket != ticket) return false;
  state_.change->ticket = 0;
  return true;
}

void Decision::on(const event::FrontHeld& held) {
  if (state_.release_ticket == held.ticket) {
    state_.release_ticket.reset();
    // At its end the kernel lets them in by itself, whatever it says.
    if (!held.error || now_ >= *state_.held_until) {
      state_.held_until.reset();
    } else {
      state_.release_at = now_ + release_retry;
    }
    return;
  }
  if (!answers_step(held.ticket)) return;
  Handover& handover = *state_.change->handover;
  if (!held.error) state_.held_until.reset();  // From here on clients are held for this handover, or not at all.
  if (handover.step == Step::hold) handover.held_at = now_;
  if (held.error && handover.step == Step::hold) {
    step_failed(*held.error);
    return;
  }
  if (held.error) {
    // The handover itself is done. A hold that cannot be lifted ends by its lease at last.
    keep_front_held(handover.held_at + lease_of_hold(state_.policy));
    state_.release_at = now_ + release_retry;
    state_.release_by = now_;  // Whoever serves them now, it is not this handover that they wait for.
    note({.kind = RecordKind::alarm, .message = "new connections are still held: " + held.error->message + "; it is tried again",
          .result = Result::failed});
  }
  next_step();
}

/// Clients wait, and maybe nobody would answer them: they go on waiting until who has the port is healthy, as they would have
/// in the handover that does not go on.
void Decision::keep_front_held(Instant until) {
  state_.held_until = until;
  state_.release_at = now_;
  state_.release_by = std::min(until, now_ + patience_with_new_side());
}

bool Decision::serves_well() const {
  const SideState& holder = state_.sides[side_of(state_.effective)];
  return !state_.holder_unknown && holder.verdict == Verdict::healthy && !known_down(holder);
}

/// Lets clients in who are held without a handover under way.
void Decision::release_front() {
  if (!state_.held_until || state_.release_ticket || (state_.change && state_.change->handover)) return;
  if (now_ < state_.release_at || (now_ < state_.release_by && !serves_well())) return;
  state_.release_ticket = next_ticket();
  actions_.emplace_back(action::HoldFront{*state_.release_ticket, false, Milliseconds{0}});
}

Milliseconds Decision::patience_with_new_side() const {
  return state_.stopping ? std::min(patience_at_the_end, state_.policy.handover_deadline) : state_.policy.handover_deadline;
}

void Decision::on(const event::Stopping&) {
  state_.stopping = true;
  const Instant latest = now_ + patience_with_new_side();
  if (state_.change && state_.change->handover) {
    state_.change->handover->deadline = std::min(state_.change->handover->deadline, latest);
  }
  state_.release_by = std::min(state_.release_by, latest);
}

void Decision::on(const event::PortsFree& free) {
  if (!answers_step(free.ticket)) return;
  if (free.error) {
    step_failed(*free.error);
  } else {
    next_step();
  }
}

void Decision::handover_operated(Side which, const std::optional<Error>& error) {
  if (!state_.change || !state_.change->handover) return;
  Handover& handover = *state_.change->handover;
  const bool stopping = handover.step == Step::stop && which == other(handover.to);
  const bool starting = handover.step == Step::start && which == handover.to;
  if (!stopping && !starting) return;
  if (!handover.asked) {
    if (starting) handover.step = Step::free;  // That was a while ago, and this operation may have changed it.
    take_step();
  } else if (error) {
    step_failed(*error);
  } else {
    next_step();
  }
}

/// Whether the side that was started is healthy, or will not be.
void Decision::look_at_handover() {
  if (!state_.change || !state_.change->handover || state_.change->handover->step != Step::healthy) return;
  const Handover& handover = *state_.change->handover;
  const SideState& started = side(handover.to);
  const std::string name(name_of(handover.to));
  if (started.verdict == Verdict::healthy) {
    next_step();
  } else if (started.died_at > handover.started_at && known_down(started)) {
    step_failed(Error{ErrorCode::failed, "the " + name + " side ended at once: " + describe_workload(started.workload)});
  } else if (now_ >= handover.deadline) {
    step_failed(Error{ErrorCode::failed, "the " + name + " side was not healthy within " +
                                             format_duration(handover.deadline - handover.started_at) +
                                             (state_.stopping ? ", and the agent is being stopped" : "") +
                                             (started.last_failure ? ": " + started.last_failure->reason : "")});
  }
}

/// Everything goes back, once. What fails on the way back, or on a way that has to be gone, is reported and left to the
/// supervision, which starts the side again.
void Decision::step_failed(const Error& error) {
  Change& change = *state_.change;
  Handover& handover = *change.handover;
  const bool last_way = handover.going_back || must_happen(change);
  if (!change.error) change.error = error;
  handover.asked = false;
  if (last_way) {
    note({.kind = RecordKind::alarm, .side = handover.to, .message = "handover: " + error.message, .result = Result::failed});
    handover.step = Step::release;
  } else if (handover.step == Step::hold) {
    handover.going_back = true;
    handover.to = other(handover.to);
    handover.step = Step::release;
  } else {
    handover.going_back = true;
    handover.to = other(handover.to);
    handover.step = Step::stop;
  }
  take_step();
}

void Decision::end_handover() {
  Change& change = *state_.change;
  const Handover handover = *std::exchange(change.handover, std::nullopt);
  change.gap = now_ - handover.held_at;
  change.took = now_ - change.begun;
  state_.effective = Route::to(handover.to);
  // What does not run is neither healthy nor sick, and may be tried when the other fails.
  if (SideState& left = side(other(handover.to)); left.workload.state != RunState::running) left.verdict = Verdict::unknown;
  if (handover.going_back) {
    // A gap at every try is too much: what cannot be restored is the RPM's, and a failover is not tried again.
    if (change.kind == RecordKind::failover) state_.failover_latched = true;
    if (change.kind == RecordKind::restore) {
      state_.durable.route = state_.effective;
      save_later(now_);
    }
    give_up(Error{ErrorCode::failed, change.error->message + "; back on " + describe(state_.effective) + " after a gap of " +
                                         format_duration(*change.gap)});
    return;
  }
  const bool to_container = handover.to == Side::container;
  state_.bake_until = to_container && change.kind == RecordKind::flip ? std::optional(now_ + state_.policy.bake) : std::nullopt;
  if (change.kind == RecordKind::restore) {
    note(record_of(change, Result::done, done_text(change)));
    change_done(done_text(change));
  } else {
    commit();
  }
}

}  // namespace dualdeploy
