#include "core/step.hpp"

#include <algorithm>
#include <utility>

namespace dualdeploy {
namespace {

constexpr Milliseconds kernel_retry{500};
constexpr Milliseconds save_retry{2'000};
constexpr Milliseconds restore_retry{5'000};

using Phase = Change::Phase;

/// One step on its way: the state, the time, and the actions so far.
class Decision {
 public:
  Decision(ServiceState& state, Instant now) : state_(state), now_(now) {}

  std::vector<Action> decide(const Event& event) {
    std::visit([this](const auto& happened) { on(happened); }, event);
    if (state_.booted) follow_up();
    return std::move(actions_);
  }

 private:
  // ---- What happened -------------------------------------------------------------------------------------------

  void on(const event::Booted& boot) {
    state_.booted = true;
    state_.booted_at = now_;
    state_.durable = boot.durable.value_or(Durable{Route::to(state_.policy.initial), {}, {}});
    if (!boot.trouble.empty()) {
      state_.durable = Durable{};  // Unreadable state ends at the RPM, whatever the configured initial route.
      note({.kind = RecordKind::state, .to = Route{}, .message = boot.trouble + "; the route is the RPM",
            .result = Result::failed});
    }
    const std::optional<Intent> unfinished = std::exchange(state_.durable.intent, std::nullopt);
    if (unfinished || !boot.trouble.empty()) save_later(now_);

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
          save_later(now_);
          note({.kind = RecordKind::interrupted, .from = saved, .to = Route{},
                .message = "the kernel was already back at the RPM; the saved route follows"});
          return;
        }
        break;
      case Kind::lapsed:
      case Kind::no_table: break;
    }
    if (unfinished) note_interrupted(*unfinished, saved);
  }

  void on(const event::Probed& probe) {
    SideState& side = state_.sides[probe.side];
    if (probe.started < side.died_at) return;  // Says nothing of the present process.
    side.last_probe_at = now_;
    if (!probe.failure) {
      side.failed_in_row = 0;
      ++side.passed_in_row;
      // A side never judged before needs one good check, as in most load balancers; a sick one has to prove itself.
      const int needed = side.verdict == Verdict::unknown ? 1 : policy(probe.side).rise;
      if (side.verdict != Verdict::healthy && side.passed_in_row >= needed) judge(probe.side, Verdict::healthy, "");
      return;
    }
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

  void on(const event::Reported& report) {
    SideState& side = state_.sides[report.side];
    const Workload before = std::exchange(side.workload, report.workload);
    const bool first = !std::exchange(side.reported, true);
    const bool was_up = before.state == RunState::running;
    const bool is_up = report.workload.state == RunState::running;
    const bool replaced = was_up && is_up && before.pid != 0 && report.workload.pid != 0 && before.pid != report.workload.pid;
    const bool gone = !first && known_down(side) && before.state != report.workload.state &&
                      (was_up || before.state == RunState::unknown || before.state == RunState::stopping);

    if (first && is_up) side.running_since = state_.booted_at;
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
      if (side.verdict != Verdict::sick) judge(report.side, Verdict::sick, why);
    }
    // The kernel tells of a death first, its supervisor a little later how it came about.
    const bool explained = known_down(side) && before.detail != report.workload.detail;
    const bool worth_a_line = before.state != report.workload.state || before.pid != report.workload.pid || explained;
    if (worth_a_line && !(first && report.workload.state == RunState::unknown)) {
      note({.kind = RecordKind::workload, .side = report.side, .message = describe_workload(report.workload)});
    }
  }

  void on(const event::Operated& done) {
    SideState& side = state_.sides[done.side];
    side.operating = false;
    side.last_operation_error = done.error ? done.error->message : "";
    if (done.error) {
      note({.kind = RecordKind::restart, .side = done.side, .message = done.error->message, .result = Result::failed});
    }
    side.not_before = std::max(side.not_before, now_ + restart_delay(done.side));
  }

  void on(const event::Requested& request) {
    if (!state_.booted) {
      refuse(request, RecordKind::alarm, "the agent is still starting; try again in a moment");
      return;
    }
    std::visit([&](const auto& command) { obey(request, command); }, request.command);
  }

  void on(const event::Applied& applied) {
    if (state_.change && state_.change->ticket == applied.ticket) {
      change_applied(applied.error);
    } else if (state_.repair_ticket == applied.ticket) {
      state_.repair_ticket.reset();
      if (applied.error) {
        state_.kernel_trouble = applied.error->message;
        state_.repair_at = now_ + kernel_retry;
      } else {
        state_.effective = *std::exchange(state_.repair_to, std::nullopt);
        state_.kernel_trouble.clear();
        note({.kind = RecordKind::drift, .to = state_.effective, .message = "kernel rules are right again"});
      }
    }
  }

  void on(const event::Saved& saved) {
    if (state_.change && state_.change->ticket == saved.ticket) {
      change_saved(saved.error);
    } else if (state_.save_ticket == saved.ticket) {
      state_.save_ticket.reset();
      if (saved.error) {
        save_failed(*saved.error);
      } else {
        state_.save_trouble.clear();
      }
    }
  }

  void on(const event::PolicyChanged& changed) {
    state_.policy = changed.policy;
    for (const Side which : both_sides) {
      if (!changed.side_changed[which]) continue;
      state_.sides[which].attempts = 0;
      state_.sides[which].not_before = now_;
      state_.sides[which].last_operation_error.clear();
    }
  }
  void on(const event::Woken&) {}

  // ---- Operators' commands --------------------------------------------------------------------------------------

  void obey(const event::Requested& request, const FlipCommand& flip) {
    if (state_.durable.hold) {
      refuse(request, RecordKind::flip, held_text(), flip.to);
      return;
    }
    // Putting the saved route back is the agent's own doing and gives way to an operator.
    const bool restoring = state_.change && state_.change->kind == RecordKind::restore;
    if (state_.change && !restoring) {
      refuse(request, RecordKind::flip, conflict_text(), flip.to);
      return;
    }
    if (flip.to == state_.effective && flip.to == state_.durable.route) {
      answer(request.request, "already at " + describe(flip.to) + "; nothing changed", flip.to, flip.to);
      return;
    }
    Change change = begin(RecordKind::flip, flip.to, request);
    change.force = flip.force;
    if (const std::string problem = problem_with(flip.to, flip.force); !problem.empty()) {
      if (!flip.wait || restoring) {
        refuse(request, RecordKind::flip, problem, flip.to);
        return;
      }
      change.phase = Phase::waiting;
      change.wait_until = now_ + *flip.wait;
      state_.change = std::move(change);
      return;
    }
    supersede("superseded by a flip of " + request.actor.user);
    state_.change = std::move(change);
    write_intent();
  }

  void obey(const event::Requested& request, const RevertCommand&) {
    operator_revert(request, RecordKind::revert);
  }
  void obey(const event::Requested& request, const RescueCommand&) {
    operator_revert(request, RecordKind::rescue);
  }

  void operator_revert(const event::Requested& request, RecordKind kind) {
    if (state_.change && state_.change->to.all_rpm() && state_.change->phase == Phase::applying) {
      state_.change->requests.push_back(request.request);  // The same thing is being done already.
      return;
    }
    const bool nothing_to_do = !state_.change && !state_.repair_to && state_.effective.all_rpm() &&
                               state_.durable.route.all_rpm();
    if (nothing_to_do) {
      answer(request.request, "already at the RPM; nothing changed", Route{}, Route{});
      return;
    }
    supersede("superseded by a revert of " + request.actor.user);
    state_.change = begin(kind, Route{}, request);
    apply_change();
  }

  void obey(const event::Requested& request, const HoldCommand&) {
    if (state_.change) {
      refuse(request, RecordKind::hold, conflict_text());
      return;
    }
    if (state_.durable.hold) {
      refuse(request, RecordKind::hold, held_text());
      return;
    }
    Change change = begin(RecordKind::hold, state_.durable.route, request);
    change.target.hold = Hold{request.actor, request.reason, request.wall_unix_ms};
    state_.change = std::move(change);
    commit();
  }

  void obey(const event::Requested& request, const ReleaseCommand&) {
    if (state_.change) {
      refuse(request, RecordKind::release, conflict_text());
      return;
    }
    if (!state_.durable.hold) {
      answer(request.request, "there is no hold; nothing changed", std::nullopt, std::nullopt);
      return;
    }
    Change change = begin(RecordKind::release, state_.durable.route, request);
    change.target.hold.reset();
    state_.change = std::move(change);
    commit();
  }

  // ---- The one change under way ---------------------------------------------------------------------------------

  Change begin(RecordKind kind, const Route& to, const event::Requested& request) {
    Change change = begin(kind, to, request.actor, request.reason);
    change.requests.push_back(request.request);
    return change;
  }
  Change begin(RecordKind kind, const Route& to, Actor actor, std::string reason) {
    Change change;
    change.kind = kind;
    change.from = state_.effective;
    change.to = to;
    change.actor = std::move(actor);
    change.reason = std::move(reason);
    change.target = state_.durable;
    change.target.route = to;
    change.begun = now_;
    return change;
  }

  void write_intent() {
    Change& change = *state_.change;
    change.phase = Phase::noting;
    change.ticket = next_ticket();
    Durable with_intent = state_.durable;
    with_intent.intent = Intent{change.kind, change.from, change.to, change.actor, change.reason};
    actions_.emplace_back(action::Save{change.ticket, std::move(with_intent), std::nullopt});
  }

  void apply_change() {
    Change& change = *state_.change;
    change.phase = Phase::applying;
    change.ticket = next_ticket();
    state_.repair_to.reset();  // This transaction says what the kernel shall hold; an older repair has nothing to add.
    state_.repair_ticket.reset();
    actions_.emplace_back(action::Apply{change.ticket, change.to});
  }

  void commit() {
    Change& change = *state_.change;
    change.phase = Phase::committing;
    change.ticket = next_ticket();
    // A save still on its way is older than this one and is written first; its answer no longer matters.
    state_.unsaved = false;
    state_.save_ticket.reset();
    actions_.emplace_back(action::Save{change.ticket, change.target, record_of(change, Result::done, done_text(change))});
  }

  void change_applied(const std::optional<Error>& error) {
    Change& change = *state_.change;
    if (change.phase == Phase::undoing) {
      if (error) {
        kernel_failed(change.from, *error);
      } else {
        state_.effective = change.from;
      }
      give_up(*change.error);
      return;
    }
    if (!error) {
      state_.effective = change.to;
      change.took = now_ - change.begun;
      state_.bake_until = change.to.uses(Side::container) && change.kind == RecordKind::flip
                              ? std::optional(now_ + state_.policy.bake)
                              : std::nullopt;
      if (change.kind == RecordKind::restore) {
        note(record_of(change, Result::done, done_text(change)));
        state_.change.reset();
      } else {
        commit();
      }
      return;
    }
    if (change.to.all_rpm() && change.kind != RecordKind::flip) {
      // The way to the RPM is not given up: what is wanted is saved, and the kernel is tried again until it obeys.
      kernel_failed(change.to, *error);
      state_.durable = change.target;
      save_later(now_);
      const Error why{ErrorCode::failed, "the kernel refused the change: " + error->message +
                                             "; it is tried again; the lease ends the redirect by itself; "
                                             "at once: dualctl rescue"};
      note(record_of(change, Result::failed, why.message));
      answer_all(change, why);
      state_.change.reset();
      return;
    }
    undo(Error{ErrorCode::failed, "the kernel refused the change: " + error->message});
  }

  void change_saved(const std::optional<Error>& error) {
    Change& change = *state_.change;
    if (change.phase == Phase::noting) {
      if (error) {
        save_later(now_ + save_retry);
        give_up(Error{ErrorCode::failed, "cannot save the state: " + error->message + "; nothing changed"});
      } else {
        apply_change();
      }
      return;
    }
    const bool route_change = change.kind != RecordKind::hold && change.kind != RecordKind::release;
    if (error && change.kind == RecordKind::flip) {
      undo(Error{ErrorCode::failed, "cannot save the state: " + error->message + "; the route went back"});
      return;
    }
    if (error && !route_change) {
      save_later(now_ + save_retry);
      give_up(Error{ErrorCode::failed, "cannot save the state: " + error->message + "; nothing changed"});
      return;
    }
    state_.durable = change.target;
    std::string message = done_text(change);
    if (error) {  // A way back to the RPM stands, saved or not.
      save_failed(*error);
      note(record_of(change, Result::done, message + " (not saved yet: " + error->message + ")"));
      message += "; WARNING: it could not be saved (" + error->message + ") and is tried again";
    }
    for (const RequestId request : change.requests) {
      actions_.emplace_back(action::Answer{request, std::nullopt, message, change.from, change.to, change.took});
    }
    state_.change.reset();
  }

  /// The kernel goes back to where the change began; then the change fails with `why`.
  void undo(Error why) {
    Change& change = *state_.change;
    change.error = std::move(why);
    change.phase = Phase::undoing;
    change.ticket = next_ticket();
    state_.bake_until.reset();
    actions_.emplace_back(action::Apply{change.ticket, change.from});
  }

  /// Ends the change as failed. The disk may hold its intent: the durable state is written again without.
  void give_up(const Error& why) {
    Change& change = *state_.change;
    if (change.kind == RecordKind::restore) {
      state_.restore_at = now_ + restore_retry;
    } else if (!state_.unsaved) {
      save_later(now_);
    }
    note(record_of(change, Result::failed, why.message));
    answer_all(change, why);
    state_.change.reset();
  }

  void supersede(const std::string& why) {
    if (!state_.change) return;
    const Error error{ErrorCode::failed, why};
    // Its transaction may still be on its way: should the change that takes over never reach the kernel, the kernel is
    // told again where it was.
    if (state_.change->phase == Phase::applying || state_.change->phase == Phase::undoing) {
      kernel_failed(state_.effective, Error{ErrorCode::failed, why});
    }
    note(record_of(*state_.change, Result::failed, why));
    answer_all(*state_.change, error);
    state_.change.reset();
  }

  // ---- What follows from the state ------------------------------------------------------------------------------

  void follow_up() {
    revert_if_container_sick();
    raise_alarms();
    go_on_waiting();
    restore_saved_route();
    for (const Side side : both_sides) supervise(side);
    retry_kernel();
    retry_save();
  }

  [[nodiscard]] bool heading_for_container() const {
    if (!state_.change) return false;
    const Phase phase = state_.change->phase;
    return state_.change->to.uses(Side::container) &&
           (phase == Phase::noting || phase == Phase::applying || phase == Phase::committing);
  }

  void revert_if_container_sick() {
    const bool on_container = state_.effective.uses(Side::container) || heading_for_container();
    if (!on_container || state_.sides[Side::container].verdict != Verdict::sick) return;
    if (state_.sides[Side::rpm].verdict == Verdict::sick) return;  // Never fail closed.
    if (state_.change && state_.change->to.all_rpm() && state_.change->phase != Phase::waiting) return;  // On its way.
    if (state_.repair_to && state_.repair_to->all_rpm() && !heading_for_container()) return;
    const std::string why = "container: " + sick_reason(Side::container);
    supersede("the container became sick meanwhile");
    state_.change = begin(RecordKind::auto_revert, Route{}, Actor{}, why);
    apply_change();
  }

  void raise_alarms() {
    const bool both_sick = state_.sides[Side::rpm].verdict == Verdict::sick &&
                           state_.sides[Side::container].verdict == Verdict::sick;
    if (both_sick && !state_.both_sick_alarm) {
      note({.kind = RecordKind::alarm, .from = state_.effective, .to = state_.effective,
            .message = "both sides look sick; the route stays at " + describe(state_.effective),
            .result = Result::failed});
    }
    state_.both_sick_alarm = both_sick;
  }

  void go_on_waiting() {
    if (!state_.change || state_.change->phase != Phase::waiting) return;
    Change& change = *state_.change;
    const std::string problem = problem_with(change.to, change.force);
    if (problem.empty()) {
      write_intent();
    } else if (now_ >= change.wait_until) {
      const Error why{ErrorCode::timed_out, "waited " + format_duration(now_ - change.begun) + ": " + problem +
                                                "; nothing changed"};
      note(record_of(change, Result::failed, why.message));
      answer_all(change, why);
      state_.change.reset();
    }
  }

  void restore_saved_route() {
    if (state_.change || state_.repair_to || state_.durable.route == state_.effective) return;
    if (now_ < state_.restore_at) return;
    if (!problem_with(state_.durable.route, false).empty()) return;
    state_.change = begin(RecordKind::restore, state_.durable.route, Actor{}, "the saved route");
    apply_change();
  }

  void supervise(Side which) {
    SideState& side = state_.sides[which];
    if (!side.reported || side.operating) return;
    const SidePolicy& rules = policy(which);
    const bool down = known_down(side);
    const bool ill = fails_while_running(which);
    const bool replace = !down && side.workload.outdated && !in_use(which);
    if (!down && !ill && !replace) return;
    if (now_ < side.not_before) return;
    if (side.attempts >= rules.restart_limit) {
      side.attempts = 0;
      side.not_before = now_ + rules.restart_rest;
      note({.kind = RecordKind::alarm, .side = which,
            .message = "started " + std::to_string(rules.restart_limit) + " times without getting healthy; next try in " +
                       format_duration(rules.restart_rest),
            .result = Result::failed});
      return;
    }
    ++side.attempts;
    ++side.starts;
    side.operating = true;
    // What cannot be started (no image, no unit) is looked for again, at the slowest pace.
    if (side.workload.state == RunState::missing) {
      side.attempts = 0;
      side.not_before = now_ + rules.restart_delay_max;
    } else {
      note({.kind = RecordKind::restart, .side = which,
            .message = std::string(down ? "starting" : "restarting") + " (" + std::to_string(side.attempts) + " of " +
                       std::to_string(rules.restart_limit) + "): " +
                       (ill ? sick_reason(which) : describe_workload(side.workload))});
    }
    actions_.emplace_back(action::Operate{which, !down});
  }

  /// New connections go to this side, or will in a moment.
  [[nodiscard]] bool in_use(Side which) const {
    return state_.effective.uses(which) || (state_.change && state_.change->to.uses(which));
  }

  [[nodiscard]] bool fails_while_running(Side which) const {
    const SideState& side = state_.sides[which];
    return side.workload.state == RunState::running && side.verdict == Verdict::sick &&
           side.failed_in_row >= policy(which).fall && now_ >= side.running_since + policy(which).start_period;
  }

  void retry_kernel() {
    if (!state_.repair_to || state_.repair_ticket || state_.change || now_ < state_.repair_at) return;
    state_.repair_ticket = next_ticket();
    actions_.emplace_back(action::Apply{*state_.repair_ticket, *state_.repair_to});
  }

  void retry_save() {
    if (!state_.unsaved || state_.save_ticket || state_.change || now_ < state_.save_at) return;
    state_.unsaved = false;
    state_.save_ticket = next_ticket();
    actions_.emplace_back(action::Save{*state_.save_ticket, state_.durable, std::nullopt});
  }

  // ---- Small pieces ---------------------------------------------------------------------------------------------

  void finish_interrupted(const std::optional<Intent>& unfinished, const Route& back_to) {
    Actor actor = unfinished ? unfinished->actor : Actor{};
    std::string why = unfinished ? "unfinished " + std::string(name_of(unfinished->kind)) + " to " +
                                       describe(unfinished->to) + " by " + actor.user
                                 : "the kernel and the saved route differ";
    state_.change = begin(RecordKind::interrupted, back_to, std::move(actor), std::move(why));
    apply_change();
  }

  void note_interrupted(const Intent& unfinished, const Route& stayed) {
    note({.kind = RecordKind::interrupted, .actor = unfinished.actor, .from = unfinished.from, .to = stayed,
          .reason = unfinished.reason,
          .message = "the " + std::string(name_of(unfinished.kind)) + " to " + describe(unfinished.to) +
                     " was never finished; the route is " + describe(stayed),
          .result = Result::failed});
  }

  void judge(Side which, Verdict verdict, const std::string& why) {
    SideState& side = state_.sides[which];
    if (verdict == Verdict::healthy) side.failed_in_row = 0;
    // Healthy for long enough: earlier restarts are forgotten.
    if (side.verdict == Verdict::healthy && now_ - side.verdict_since >= policy(which).restart_reset) side.attempts = 0;
    side.verdict = verdict;
    side.verdict_since = now_;
    note({.kind = RecordKind::health, .side = which,
          .message = std::string(name_of(verdict)) + (why.empty() ? "" : ": " + why),
          .result = verdict == Verdict::sick ? Result::failed : Result::done});
  }

  /// Why new connections should not go where `to` sends them; empty if they may.
  [[nodiscard]] std::string problem_with(const Route& to, bool force) const {
    const Side target = to.uses(Side::container) ? Side::container : Side::rpm;
    const Verdict verdict = state_.sides[target].verdict;
    if (verdict == Verdict::healthy) return "";
    const std::string name(name_of(target));
    const bool other_healthy = state_.sides[other(target)].verdict == Verdict::healthy;
    if (verdict == Verdict::sick && other_healthy) {
      return "the " + name + " side is sick (" + sick_reason(target) + ") and the other is healthy" +
             (force ? "; --force does not overrule this" : "");
    }
    if (force) return "";
    return verdict == Verdict::sick ? "the " + name + " side is sick (" + sick_reason(target) + ")"
                                    : "the " + name + " side has not passed a check yet" + pending_reason(target);
  }

  [[nodiscard]] std::string sick_reason(Side which) const {
    const SideState& side = state_.sides[which];
    if (known_down(side)) return describe_workload(side.workload);
    if (side.last_failure && side.last_failure_at >= side.died_at) return side.last_failure->reason;
    return describe_workload(side.workload);
  }
  [[nodiscard]] std::string pending_reason(Side which) const {
    const SideState& side = state_.sides[which];
    if (side.last_failure) return ": " + side.last_failure->reason;
    if (known_down(side)) return ": " + describe_workload(side.workload);
    return "";
  }

  static std::string describe_workload(const Workload& workload) {
    std::string text(name_of(workload.state));
    if (workload.state == RunState::running && workload.pid != 0) text += ", pid " + std::to_string(workload.pid);
    if (!workload.detail.empty()) text += ": " + workload.detail;
    return text;
  }
  static std::string ended_because(const Workload& workload) {
    return workload.detail.empty() ? "is " + std::string(name_of(workload.state)) : workload.detail;
  }

  [[nodiscard]] Milliseconds restart_delay(Side which) const {
    const SidePolicy& rules = policy(which);
    Milliseconds delay = rules.restart_delay;
    for (int i = 0; i < state_.sides[which].attempts && delay < rules.restart_delay_max; ++i) delay *= 2;
    return std::min(delay, rules.restart_delay_max);
  }

  void kernel_failed(const Route& wanted, const Error& error) {
    state_.repair_to = wanted;
    state_.repair_ticket.reset();
    state_.repair_at = now_ + kernel_retry;
    state_.kernel_trouble = error.message;
  }

  void save_later(Instant when) {
    state_.unsaved = true;
    state_.save_ticket.reset();
    state_.save_at = when;
  }
  void save_failed(const Error& error) {
    if (state_.save_trouble != error.message) {
      note({.kind = RecordKind::state, .message = "cannot save the state: " + error.message, .result = Result::failed});
    }
    state_.save_trouble = error.message;
    save_later(now_ + save_retry);
  }

  [[nodiscard]] std::string held_text() const {
    return "held by " + state_.durable.hold->owner.user + ": " + state_.durable.hold->reason +
           "; to lift it: dualctl release " + state_.policy.name;
  }
  [[nodiscard]] std::string conflict_text() const {
    return "another change is in progress: " + std::string(name_of(state_.change->kind)) + " to " +
           describe(state_.change->to) + " by " + state_.change->actor.user + " (" +
           std::string(name_of(state_.change->phase)) + ")";
  }
  [[nodiscard]] std::string done_text(const Change& change) const {
    switch (change.kind) {
      case RecordKind::hold: return "held at " + describe(change.to);
      case RecordKind::release: return "released";
      default: return "new connections go to " + describe(change.to);
    }
  }
  [[nodiscard]] static Record record_of(const Change& change, Result result, std::string message) {
    return Record{.kind = change.kind, .side = std::nullopt, .actor = change.actor, .from = change.from, .to = change.to,
                  .reason = change.reason, .message = std::move(message), .result = result, .duration = change.took};
  }

  void refuse(const event::Requested& request, RecordKind kind, const std::string& why,
              std::optional<Route> to = std::nullopt) {
    if (state_.booted) {
      note({.kind = kind, .actor = request.actor, .from = state_.effective, .to = to, .reason = request.reason,
            .message = why, .result = Result::refused});
    }
    actions_.emplace_back(action::Answer{request.request, Error{ErrorCode::refused, why}, "", {}, {}, {}});
  }
  void answer(RequestId request, std::string message, std::optional<Route> from, std::optional<Route> to) {
    actions_.emplace_back(action::Answer{request, std::nullopt, std::move(message), from, to, Milliseconds{0}});
  }
  void answer_all(const Change& change, const Error& error) {
    for (const RequestId request : change.requests) {
      actions_.emplace_back(action::Answer{request, error, "", change.from, change.to, change.took});
    }
  }
  void note(Record record) { actions_.emplace_back(action::Note{std::move(record)}); }
  [[nodiscard]] const SidePolicy& policy(Side side) const { return state_.policy.sides[side]; }
  Ticket next_ticket() { return ++state_.last_ticket; }

  ServiceState& state_;
  Instant now_;
  std::vector<Action> actions_;
};

}  // namespace

std::vector<Action> step(ServiceState& state, const Event& event, Instant now) {
  return Decision(state, now).decide(event);
}

std::optional<Instant> next_wake(const ServiceState& state, Instant now) {
  std::optional<Instant> wake;
  const auto consider = [&wake](Instant when) {
    if (!wake || when < *wake) wake = when;
  };
  if (!state.booted) return wake;
  if (state.change && state.change->phase == Phase::waiting) consider(state.change->wait_until);
  for (const Side which : both_sides) {
    const SideState& side = state.sides[which];
    if (!side.reported || side.operating) continue;
    const bool in_use = state.effective.uses(which) || (state.change && state.change->to.uses(which));
    if (known_down(side) || (side.workload.outdated && !in_use)) consider(side.not_before);
    const SidePolicy& rules = state.policy.sides[which];
    if (side.workload.state == RunState::running && side.verdict == Verdict::sick && side.failed_in_row >= rules.fall) {
      consider(std::max(side.not_before, side.running_since + rules.start_period));
    }
  }
  if (!state.change) {
    if (state.repair_to && !state.repair_ticket) consider(state.repair_at);
    if (state.unsaved && !state.save_ticket) consider(state.save_at);
    if (state.durable.route != state.effective) {
      if (now < state.restore_at) consider(state.restore_at);
      if (now < state.booted_at + state.policy.start_patience) consider(state.booted_at + state.policy.start_patience);
    }
  }
  return wake;
}

std::string why_not_intended(const ServiceState& state) {
  if (state.repair_to) return "the kernel refused the change: " + state.kernel_trouble;
  if (state.change && state.change->phase != Phase::waiting) return "a change is in progress";
  if (state.durable.route == state.effective) return "";
  const SideState& container = state.sides[Side::container];
  if (container.workload.state == RunState::missing) return "the container cannot run: " + container.workload.detail;
  if (container.verdict == Verdict::sick) return "the container is sick";
  if (container.workload.state == RunState::unknown && container.reported) {
    return "the container engine does not answer: " + container.workload.detail;
  }
  if (!container.last_operation_error.empty()) return "the container did not start: " + container.last_operation_error;
  return "the container has not passed its checks yet";
}

bool settled(const ServiceState& state, Instant now) {
  if (!state.booted || (state.change && state.change->phase != Phase::waiting)) return false;
  if (state.durable.route == state.effective || state.repair_to) return true;
  if (now >= state.booted_at + state.policy.start_patience) return true;
  const SideState& container = state.sides[Side::container];
  return container.verdict == Verdict::sick || !container.last_operation_error.empty() ||
         (container.reported &&
          (container.workload.state == RunState::missing || container.workload.state == RunState::unknown));
}

std::vector<std::string> alarms(const ServiceState& state) {
  std::vector<std::string> texts;
  const Verdict rpm = state.sides[Side::rpm].verdict;
  const Verdict container = state.sides[Side::container].verdict;
  if (state.repair_to) {
    texts.push_back("the kernel does not take our rules: " + state.kernel_trouble + "; way out: dualctl rescue");
  }
  if (rpm == Verdict::sick && container == Verdict::sick) {
    texts.push_back("both sides look sick; the route stays at " + describe(state.effective));
  } else if (rpm == Verdict::sick && state.effective.uses(Side::rpm)) {
    texts.push_back("the RPM has the traffic and is sick" +
                    std::string(container == Verdict::healthy ? "; the container is healthy" : ""));
  }
  if (!state.save_trouble.empty()) texts.push_back("the state cannot be saved: " + state.save_trouble);
  return texts;
}

}  // namespace dualdeploy
