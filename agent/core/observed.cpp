#include <algorithm>
#include <utility>

#include "core/decision.hpp"

namespace dualdeploy {
namespace {

std::string ended_because(const Workload& workload) {
  return workload.detail.empty() ? "is " + std::string(name_of(workload.state)) : workload.detail;
}

}  // namespace

void Decision::on(const event::Booted& boot) {
  state_.booted = true;
  state_.booted_at = now_;
  state_.boot_id = boot.boot_id;
  state_.durable = boot.durable.value_or(Durable{.route = Route::to(state_.policy.initial), .hold = {}, .intent = {}});
  if (!boot.trouble.empty()) {
    state_.durable = Durable{};  // Unreadable state ends at the RPM, whatever the configured initial route.
    note({.kind = RecordKind::state, .to = Route{}, .message = boot.trouble + "; the route is the RPM",
          .result = Result::failed});
  }
  if (boot.kernel.held > Milliseconds{0}) keep_front_held(now_ + boot.kernel.held);
  drop_unconfirmed_of_earlier();
  const std::optional<Intent> unfinished = std::exchange(state_.durable.intent, std::nullopt);
  if (unfinished || !boot.trouble.empty()) save_later(now_);

  if (state_.policy.strategy == Strategy::handover) {
    state_.effective = state_.durable.route;
    state_.holder_unknown = true;
    state_.interrupted = unfinished;
    return;
  }
  using Kind = KernelRoute::Kind;
  const Route saved = state_.durable.route;
  switch (boot.kernel.kind) {
    case Kind::active:
      state_.effective = boot.kernel.route;
      if (boot.kernel.route == saved) {
        note({.kind = RecordKind::adopt, .from = saved, .to = saved,
              .message = "kernel rules found as saved; traffic not touched"});
      } else {
        finish_interrupted(unfinished, saved);
        return;
      }
      break;
    case Kind::none:
      // Our table without this service's chain: a revert reached the kernel and its record did not reach the disk.
      // (Without a saved state the service is new here, and nothing was reverted.)
      if (boot.durable && !saved.all_rpm()) {
        state_.durable.route = Route{};
        state_.durable.confirm.reset();
        save_later(now_);
        note({.kind = RecordKind::interrupted, .actor = unfinished ? unfinished->actor : Actor{}, .from = saved, .to = Route{},
              .reason = unfinished ? unfinished->reason : "",
              .message = "the kernel was already back at the RPM; the saved route follows"});
        return;
      }
      break;
    case Kind::lapsed:
    case Kind::no_table: break;
  }
  if (unfinished) note_interrupted(*unfinished, saved);
}

void Decision::on(const event::Probed& probe) {
  SideState& side = state_.sides[probe.side];
  if (probe.started < side.died_at) return;  // Says nothing of the present process.
  // With handover both sides have the same port: only who has it, or is to get it, is the one that answers.
  const bool one_port = state_.policy.strategy == Strategy::handover;
  if (one_port && (state_.holder_unknown || known_down(side) || !wanted_up(state_, probe.side))) return;
  if (!could_be_checked(probe)) return;
  side.last_probe_at = now_;
  if (!probe.failure) {
    side.failed_in_row = 0;
    ++side.passed_in_row;
    // A side never judged before needs one good check, as in most load balancers; a sick one has to prove itself.
    const int needed = side.verdict == Verdict::unknown ? 1 : policy(probe.side).rise;
    if (side.verdict != Verdict::healthy && side.passed_in_row >= needed) judge(probe.side, Verdict::healthy, "");
    return;
  }
  if (known_down(side) && !wanted_up(state_, probe.side)) return;  // It is not meant to answer.
  side.last_failure = probe.failure;
  side.last_failure_at = now_;
  side.passed_in_row = 0;
  const bool starting_up = side.verdict != Verdict::healthy && side.running_since > state_.booted_at &&
                           now_ < side.running_since + policy(probe.side).start_period;
  if (starting_up) return;
  ++side.failed_in_row;
  const bool baking = probe.side == Side::container && state_.bake_until && now_ < *state_.bake_until &&
                      state_.effective.uses(Side::container);
  const int needed = baking ? 1 : policy(probe.side).fall;
  if (side.verdict != Verdict::sick && side.failed_in_row >= needed) {
    judge(probe.side, Verdict::sick, probe.failure->reason);
    side.not_before = std::max(side.not_before, now_ + restart_delay(probe.side));
  }
}

/// Whether the probe says anything of its side; if not, whoever is on call has to know that nobody looks.
bool Decision::could_be_checked(const event::Probed& probe) {
  const bool inconclusive = probe.failure && probe.failure->inconclusive;
  std::string& trouble = side(probe.side).check_trouble;
  if (inconclusive && trouble.empty()) {
    note({.kind = RecordKind::alarm, .side = probe.side, .message = "cannot be checked: " + probe.failure->reason + "; its last verdict stands",
          .result = Result::failed});
  } else if (!inconclusive && !trouble.empty()) {
    note({.kind = RecordKind::alarm, .side = probe.side, .message = "can be checked again"});
  }
  trouble = inconclusive ? probe.failure->reason : "";
  return !inconclusive;
}

void Decision::on(const event::Reported& report) {
  SideState& side = state_.sides[report.side];
  const Workload before = std::exchange(side.workload, report.workload);
  const bool first = !std::exchange(side.reported, true);
  const bool was_up = before.state == RunState::running;
  const bool is_up = report.workload.state == RunState::running;
  const bool replaced = was_up && is_up && before.pid != 0 && report.workload.pid != 0 && before.pid != report.workload.pid;
  const bool gone = !first && known_down(side) && before.state != report.workload.state &&
                    (was_up || before.state == RunState::unknown || before.state == RunState::stopping);

  if (first && is_up) side.running_since = state_.booted_at;
  // An agent that comes back to a container that has the traffic and is down: nobody was there to send the traffic home.
  const bool found_down = first && known_down(side) && report.side == Side::container &&
                          state_.policy.strategy == Strategy::redirect && state_.effective.uses(Side::container);
  if (found_down) judge(report.side, Verdict::sick, ended_because(report.workload));
  // What was missing is here now: it need not wait for the next look.
  if (before.state == RunState::missing && report.workload.state != RunState::missing) side.not_before = now_;
  if ((!first && is_up && !was_up && before.pid != report.workload.pid) || replaced) {
    side.running_since = now_;
    side.passed_in_row = 0;
    side.failed_in_row = 0;
  }
  if (gone || replaced) {
    side.died_at = now_;
    side.passed_in_row = 0;
    const std::string why = replaced ? "main process was replaced" : ended_because(report.workload);
    side.not_before = std::max(side.not_before, now_ + restart_delay(report.side));
    const bool as_wanted = !replaced && !wanted_up(state_, report.side);
    if (!as_wanted && side.verdict != Verdict::sick) judge(report.side, Verdict::sick, why);
  }
  // Cold again, as it should be: neither healthy nor sick, whatever it was before.
  if (!first && known_down(side) && before.state != report.workload.state && !wanted_up(state_, report.side)) {
    side.verdict = Verdict::unknown;
  }
  // The kernel tells of a death first, its supervisor a little later how it came about.
  const bool explained = known_down(side) && before.detail != report.workload.detail;
  const bool worth_a_line = before.state != report.workload.state || before.pid != report.workload.pid || explained;
  if (worth_a_line && !(first && report.workload.state == RunState::unknown)) {
    note({.kind = RecordKind::workload, .side = report.side, .message = describe_workload(report.workload)});
  }
}

void Decision::on(const event::Operated& done) {
  SideState& side = state_.sides[done.side];
  side.operating = false;
  side.last_operation_error = done.error ? done.error->message : "";
  if (done.error) {
    note({.kind = RecordKind::restart, .side = done.side, .message = done.error->message, .result = Result::failed});
  }
  side.not_before = std::max(side.not_before, now_ + restart_delay(done.side));
  handover_operated(done.side, done.error);
}

void Decision::on(const event::PolicyChanged& changed) {
  state_.policy = changed.policy;
  for (const Side which : both_sides) {
    if (!changed.side_changed[which]) continue;
    state_.sides[which].attempts = 0;
    state_.sides[which].not_before = now_;
    state_.sides[which].last_operation_error.clear();
  }
}

void Decision::finish_interrupted(const std::optional<Intent>& unfinished, const Route& back_to) {
  Actor actor = unfinished ? unfinished->actor : Actor{};
  std::string why = unfinished ? "unfinished " + std::string(name_of(unfinished->kind)) + " to " +
                                     describe(unfinished->to) + " by " + actor.user
                               : "the kernel and the saved route differ";
  supersede("what an earlier run of the agent left unfinished comes first; try again");  // Somebody may wait for a side's health.
  state_.change = begin(RecordKind::interrupted, back_to, std::move(actor), std::move(why));
  apply_change();
}

void Decision::note_interrupted(const Intent& unfinished, const Route& stayed) {
  note({.kind = RecordKind::interrupted, .actor = unfinished.actor, .from = unfinished.from, .to = stayed,
        .reason = unfinished.reason,
        .message = "the " + std::string(name_of(unfinished.kind)) + " to " + describe(unfinished.to) +
                   " was never finished; the route is " + describe(stayed),
        .result = Result::failed});
}

void Decision::judge(Side which, Verdict verdict, const std::string& why) {
  SideState& side = state_.sides[which];
  if (verdict == Verdict::healthy) side.failed_in_row = 0;
  if (verdict == Verdict::healthy && which == Side::rpm) state_.rpm_chosen = false;
  // Healthy for long enough: earlier restarts are forgotten.
  if (side.verdict == Verdict::healthy && now_ - side.verdict_since >= policy(which).restart_reset) side.attempts = 0;
  side.verdict = verdict;
  side.verdict_since = now_;
  note({.kind = RecordKind::health, .side = which,
        .message = std::string(name_of(verdict)) + (why.empty() ? "" : ": " + why),
        .result = verdict == Verdict::sick ? Result::failed : Result::done});
}

Milliseconds Decision::restart_delay(Side which) const {
  const SidePolicy& rules = policy(which);
  Milliseconds delay = rules.restart_delay;
  for (int i = 0; i < state_.sides[which].attempts && delay < rules.restart_delay_max; ++i) delay *= 2;
  return std::min(delay, rules.restart_delay_max);
}

/// A flip that was to be confirmed, and its time is over or the machine was rebooted since: the route before it counts.
void Decision::drop_unconfirmed_of_earlier() {
  const std::optional<Confirm> pending = state_.durable.confirm;
  if (!pending) return;
  const bool rebooted = pending->boot_id != state_.boot_id;
  if (!rebooted && now_ < pending->deadline) return;
  const Route unconfirmed = std::exchange(state_.durable.route, pending->back_to);
  state_.durable.confirm.reset();
  save_later(now_);
  note({.kind = RecordKind::expire, .actor = pending->actor, .from = unconfirmed, .to = pending->back_to,
        .message = std::string(rebooted ? "the machine was rebooted before the flip was confirmed"
                                        : "not confirmed in time, while no agent ran") +
                   "; the route is " + describe(pending->back_to)});
}

}  // namespace dualdeploy
