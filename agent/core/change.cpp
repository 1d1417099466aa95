#include <utility>

#include "core/decision.hpp"

namespace dualdeploy {

using Phase = Change::Phase;

namespace {

constexpr Milliseconds kernel_retry{500};
constexpr Milliseconds save_retry{2'000};
constexpr Milliseconds restore_retry{5'000};

/// When the kernel ends the route by itself, however alive the agent is.
std::optional<Instant> until(const Durable& durable) {
  return durable.confirm ? std::optional(durable.confirm->deadline) : std::nullopt;
}

/// What leaves the route as it is.
bool keeps_route(RecordKind kind) {
  return kind == RecordKind::hold || kind == RecordKind::release || kind == RecordKind::confirm;
}

}  // namespace

bool must_happen(const Change& change) {
  return change.kind == RecordKind::expire || (change.to.all_rpm() && change.kind != RecordKind::flip);
}

// ---- Answers from outside, by their tickets ----------------------------------------------------------------------------

void Decision::on(const event::HookEnded& ended) {
  if (!state_.change || state_.change->ticket != ended.ticket || state_.change->phase != Phase::asking) return;
  std::string refusal;
  if (ended.error) {
    refusal = "the before-hook said no: " + ended.error->message;
  } else if (const auto obstacle = first_in_the_way(guards_of_route(state_, state_.change->to), state_.change->force)) {
    refusal = "while the before-hook ran: " + obstacle->text;  // Things may have changed meanwhile.
  }
  if (refusal.empty()) {
    inspect();
  } else {
    refuse_change(refusal);
  }
}

void Decision::on(const event::Applied& applied) {
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

void Decision::on(const event::Proved& proved) {
  if (!state_.change || state_.change->ticket != proved.ticket) return;
  if (state_.change->phase == Phase::inspecting) {
    if (proved.error) {
      refuse_change(proved.error->message);
    } else {
      write_intent();
    }
  } else if (proved.error) {
    undo(Error{ErrorCode::failed, "the flip did not prove right: " + proved.error->message + "; the route went back"});
  } else {
    commit();
  }
}

void Decision::on(const event::Saved& saved) {
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

// ---- From phase to phase -----------------------------------------------------------------------------------------------

Change Decision::begin(RecordKind kind, const Route& to, const event::Requested& request) {
  Change change = begin(kind, to, request.actor, request.reason);
  change.requests.push_back(request.request);
  return change;
}

Change Decision::begin(RecordKind kind, const Route& to, Actor actor, std::string reason) {
  Change change;
  change.kind = kind;
  change.from = state_.effective;
  change.to = to;
  change.actor = std::move(actor);
  change.reason = std::move(reason);
  change.target = state_.durable;
  change.target.route = to;
  // A pending confirmation is about its route: any other route is another matter, and a way back settles it.
  const bool same_matter = kind == RecordKind::restore || kind == RecordKind::interrupted || keeps_route(kind);
  if (!same_matter) change.target.confirm.reset();
  change.begun = now_;
  return change;
}

/// No guard is in the way any more.
void Decision::start_flip() {
  Change& change = *state_.change;
  for (const Guard& guard : guards_of_route(state_, change.to)) {
    if (!guard.passed) change.overruled += (change.overruled.empty() ? "" : "; ") + guard.text;
  }
  if (!state_.policy.before_hook) {
    inspect();
    return;
  }
  change.phase = Phase::asking;
  change.ticket = next_ticket();
  actions_.emplace_back(
      action::RunHook{change.ticket, HookPoint::before, change.kind, change.from, change.to, change.actor, change.reason});
}

void Decision::inspect() {
  Change& change = *state_.change;
  if (!state_.policy.proof || state_.policy.strategy == Strategy::handover) {
    write_intent();
    return;
  }
  change.phase = Phase::inspecting;
  change.ticket = next_ticket();
  actions_.emplace_back(action::Prove{change.ticket, HookPoint::before, change.to});
}

/// Ends a change that has not begun.
void Decision::refuse_change(const std::string& why) {
  note(record_of(*state_.change, Result::refused, why));
  answer_all(*state_.change, Error{ErrorCode::refused, why});
  state_.change.reset();
}

void Decision::write_intent() {
  Change& change = *state_.change;
  change.phase = Phase::noting;
  change.ticket = next_ticket();
  Durable with_intent = state_.durable;
  with_intent.intent = Intent{change.kind, change.from, change.to, change.actor, change.reason};
  actions_.emplace_back(action::Save{change.ticket, std::move(with_intent), std::nullopt});
}

void Decision::apply_change() {
  Change& change = *state_.change;
  if (change.confirm_within) {
    const std::optional<Confirm>& pending = state_.durable.confirm;
    change.target.confirm = Confirm{.back_to = pending ? pending->back_to : state_.durable.route,
                                    .boot_id = state_.boot_id,
                                    .deadline = now_ + *change.confirm_within,
                                    .actor = change.actor};
  }
  if (state_.policy.strategy == Strategy::handover) {
    start_handover();
    return;
  }
  change.phase = Phase::applying;
  change.ticket = next_ticket();
  state_.repair_to.reset();  // This transaction says what the kernel shall hold; an older repair has nothing to add.
  state_.repair_ticket.reset();
  actions_.emplace_back(action::Apply{change.ticket, change.to, until(change.target)});
}

void Decision::commit() {
  Change& change = *state_.change;
  change.phase = Phase::committing;
  change.ticket = next_ticket();
  // A save still on its way is older than this one and is written first; its answer no longer matters.
  state_.unsaved = false;
  state_.save_ticket.reset();
  actions_.emplace_back(action::Save{change.ticket, change.target, record_of(change, Result::done, done_text(change))});
}

void Decision::change_applied(const std::optional<Error>& error) {
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
  if (change.kind == RecordKind::confirm) {  // It is durable already; the kernel was only to forget the deadline.
    if (error) kernel_failed(change.to, *error);
    change_done(done_text(change));
    return;
  }
  if (error && must_happen(change)) {
    // The way back is not given up: what is wanted is saved, and the kernel is tried again until it obeys.
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
  if (error) {
    undo(Error{ErrorCode::failed, "the kernel refused the change: " + error->message});
    return;
  }
  state_.effective = change.to;
  change.took = now_ - change.begun;
  const bool new_to_container = change.kind == RecordKind::flip || change.kind == RecordKind::failover;
  state_.bake_until = change.to.uses(Side::container) && new_to_container ? std::optional(now_ + state_.policy.bake)
                                                                          : std::nullopt;
  if (change.kind == RecordKind::restore) {
    note(record_of(change, Result::done, done_text(change)));
    change_done(done_text(change));
  } else if (change.kind == RecordKind::flip && state_.policy.proof) {
    change.phase = Phase::proving;
    change.ticket = next_ticket();
    actions_.emplace_back(action::Prove{change.ticket, HookPoint::after, change.to});
  } else {
    commit();
  }
}

void Decision::change_saved(const std::optional<Error>& error) {
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
  if (error && change.kind == RecordKind::flip) {
    undo(Error{ErrorCode::failed, "cannot save the state: " + error->message + "; the route went back"});
    return;
  }
  if (error && keeps_route(change.kind)) {
    save_later(now_ + save_retry);
    give_up(Error{ErrorCode::failed, "cannot save the state: " + error->message + "; nothing changed"});
    return;
  }
  state_.durable = change.target;
  std::string message = done_text(change);
  if (error) {  // A way back stands, saved or not, and so does what the agent does because a side failed.
    save_failed(*error);
    note(record_of(change, Result::done, message + " (not saved yet: " + error->message + ")"));
    message += "; WARNING: it could not be saved (" + error->message + ") and is tried again";
  }
  if (change.kind == RecordKind::confirm && state_.effective == change.to && change.to.uses(Side::container)) {
    change.phase = Phase::applying;
    change.ticket = next_ticket();
    actions_.emplace_back(action::Apply{change.ticket, change.to, until(state_.durable)});
    return;
  }
  change_done(message);
}

/// Ends the change as done; its record is written already.
void Decision::change_done(const std::string& message) {
  const Change& change = *state_.change;
  const bool sent_home = change.to.all_rpm() && !change.requests.empty() && !keeps_route(change.kind);  // By an operator.
  if (sent_home) state_.rpm_chosen = side(Side::rpm).verdict == Verdict::sick;
  for (const RequestId request : change.requests) {
    actions_.emplace_back(action::Answer{request, std::nullopt, message, change.from, change.to, change.took});
  }
  if (state_.policy.after_hook && change.from != change.to) {
    actions_.emplace_back(
        action::RunHook{0, HookPoint::after, change.kind, change.from, change.to, change.actor, change.reason});
  }
  state_.change.reset();
}

/// The kernel goes back to where the change began; then the change fails with `why`.
void Decision::undo(Error why) {
  Change& change = *state_.change;
  change.error = std::move(why);
  if (state_.policy.strategy == Strategy::handover) {  // The other way round, and then it fails.
    change.handover = Handover{.to = change.from.uses(Side::container) ? Side::container : Side::rpm, .going_back = true,
                               .held_at = now_};
    change.phase = Phase::handing_over;
    take_step();
    return;
  }
  change.phase = Phase::undoing;
  change.ticket = next_ticket();
  state_.bake_until.reset();
  actions_.emplace_back(action::Apply{change.ticket, change.from, until(state_.durable)});
}

/// Ends the change as failed. The disk may hold its intent: the durable state is written again without.
void Decision::give_up(const Error& why) {
  Change& change = *state_.change;
  if (change.kind == RecordKind::restore) {
    state_.restore_at = now_ + restore_retry;
  } else if (!state_.unsaved) {
    save_later(now_);
  }
  if (change.kind == RecordKind::failover) state_.failover_at = now_ + restore_retry;
  note(record_of(change, Result::failed, why.message));
  answer_all(change, why);
  state_.change.reset();
}

void Decision::supersede(const std::string& why) {
  if (!state_.change) return;
  const Error error{ErrorCode::failed, why};
  // Its transaction may still be on its way: should the change that takes over never reach the kernel, the kernel is
  // told again where it was.
  if (state_.change->phase == Phase::applying || state_.change->phase == Phase::undoing) {
    kernel_failed(state_.effective, Error{ErrorCode::failed, why});
  }
  if (const std::optional<Handover>& handover = state_.change->handover) {
    sides_in_motion_ = handover->step != Handover::Step::hold || handover->going_back;
    keep_front_held(handover->held_at + lease_of_hold(state_.policy));
  }
  note(record_of(*state_.change, Result::failed, why));
  answer_all(*state_.change, error);
  state_.change.reset();
}

void Decision::answer_all(const Change& change, const Error& error) {
  for (const RequestId request : change.requests) {
    actions_.emplace_back(action::Answer{request, error, "", change.from, change.to, change.took});
  }
}

std::string Decision::done_text(const Change& change) const {
  switch (change.kind) {
    case RecordKind::hold: return "held at " + describe(change.to);
    case RecordKind::release: return "released";
    case RecordKind::confirm: return "confirmed: the route stays at " + describe(change.to);
    default: break;
  }
  std::string text = "new connections go to " + describe(change.to);
  if (change.confirm_within && change.target.confirm) {
    text += "; back to " + describe(change.target.confirm->back_to) + " unless confirmed within " +
            format_duration(*change.confirm_within) + ": dualctl confirm " + state_.policy.name;
  }
  if (change.gap) text += "; new connections waited for " + format_duration(*change.gap);
  if (!change.overruled.empty()) text += "; forced, although " + change.overruled;
  return text;
}

Record Decision::record_of(const Change& change, Result result, std::string message) const {
  return Record{.kind = change.kind, .side = std::nullopt, .actor = change.actor, .from = change.from, .to = change.to,
                .reason = change.reason, .message = std::move(message), .result = result, .duration = change.took};
}

// ---- Troubles that retry -----------------------------------------------------------------------------------------------

void Decision::kernel_failed(const Route& wanted, const Error& error) {
  state_.repair_to = wanted;
  state_.repair_ticket.reset();
  state_.repair_at = now_ + kernel_retry;
  state_.kernel_trouble = error.message;
}

void Decision::retry_kernel() {
  if (!state_.repair_to || state_.repair_ticket || state_.change || now_ < state_.repair_at) return;
  state_.repair_ticket = next_ticket();
  actions_.emplace_back(action::Apply{*state_.repair_ticket, *state_.repair_to, until(state_.durable)});
}

void Decision::save_later(Instant when) {
  state_.unsaved = true;
  state_.save_ticket.reset();
  state_.save_at = when;
}

void Decision::save_failed(const Error& error) {
  if (state_.save_trouble != error.message) {
    note({.kind = RecordKind::state, .message = "cannot save the state: " + error.message, .result = Result::failed});
  }
  state_.save_trouble = error.message;
  save_later(now_ + save_retry);
}

void Decision::retry_save() {
  if (!state_.unsaved || state_.save_ticket || state_.change || now_ < state_.save_at) return;
  state_.unsaved = false;
  state_.save_ticket = next_ticket();
  actions_.emplace_back(action::Save{*state_.save_ticket, state_.durable, std::nullopt});
}

}  // namespace dualdeploy
