#include "core/decision.hpp"

namespace dualdeploy {

void Decision::on(const event::Requested& request) {
  if (!state_.booted) {
    refuse(request, RecordKind::alarm, "the agent is still starting; try again in a moment");
    return;
  }
  std::visit([&](const auto& command) { obey(request, command); }, request.command);
}

void Decision::obey(const event::Requested& request, const FlipCommand& flip) {
  if (flip.confirm_within && state_.policy.strategy == Strategy::handover) {
    refuse(request, RecordKind::flip, "a handover cannot be undone by the kernel alone, and so not wait for a confirmation", flip.to);
    return;
  }
  if (state_.stopping) {
    refuse(request, RecordKind::flip, "the agent is being stopped", flip.to);
    return;
  }
  const std::vector<Guard> guards = guards_of_flip(state_, flip.to);
  const bool restoring = state_.change && state_.change->kind == RecordKind::restore;
  const bool free_to_change = hold_guard(state_).passed && (!state_.change || restoring);
  const bool already_there = flip.to == state_.effective && flip.to == state_.durable.route;
  const std::optional<Confirm>& pending = state_.durable.confirm;
  if (free_to_change && already_there && !(pending && flip.confirm_within)) {
    answer(request.request,
           "already at " + describe(flip.to) + "; nothing changed" +
               (pending ? "; it is still to be confirmed within " + format_duration(pending->deadline - now_) : ""),
           flip.to, flip.to);
    return;
  }
  const std::optional<Guard> obstacle = first_in_the_way(guards, flip.force);
  const bool wait = obstacle && obstacle->may_pass_later && flip.wait && !restoring;
  if (obstacle && !wait) {
    refuse(request, RecordKind::flip, obstacle->text, flip.to);
    return;
  }
  Change change = begin(RecordKind::flip, flip.to, request);
  change.force = flip.force;
  change.confirm_within = flip.confirm_within;
  change.wait_until = now_ + flip.wait.value_or(Milliseconds{0});
  supersede("superseded by a flip of " + request.actor.user);
  state_.change = std::move(change);
  state_.failover_latched = state_.rpm_chosen = false;
  if (!wait) start_flip();
}

void Decision::obey(const event::Requested& request, const ConfirmCommand&) {
  if (state_.change && state_.change->kind != RecordKind::restore) {
    refuse(request, RecordKind::confirm, in_progress(*state_.change));
    return;
  }
  if (!state_.durable.confirm || now_ >= state_.durable.confirm->deadline) {
    refuse(request, RecordKind::confirm, "nothing waits for a confirmation; the route is " + describe(state_.durable.route));
    return;
  }
  Change change = begin(RecordKind::confirm, state_.durable.route, request);
  supersede("superseded by a confirmation of " + request.actor.user);
  state_.change = std::move(change);
  state_.change->target.confirm.reset();
  commit();
}

void Decision::obey(const event::Requested& request, const RevertCommand&) { operator_revert(request, RecordKind::revert); }
void Decision::obey(const event::Requested& request, const RescueCommand&) { operator_revert(request, RecordKind::rescue); }

void Decision::operator_revert(const event::Requested& request, RecordKind kind) {
  state_.failover_latched = false;
  state_.rpm_chosen = state_.sides[Side::rpm].verdict == Verdict::sick;
  if (going_home()) {
    state_.change->requests.push_back(request.request);  // The same thing is being done already.
    return;
  }
  const bool nothing_to_do = !state_.change && !state_.repair_to && !state_.unsaved && !state_.save_ticket && state_.effective.all_rpm() &&
                             state_.durable.route.all_rpm() && !state_.durable.confirm;
  if (nothing_to_do) {
    answer(request.request, "already at the RPM; nothing changed", Route{}, Route{});
    return;
  }
  supersede("superseded by a revert of " + request.actor.user);
  state_.change = begin(kind, Route{}, request);
  apply_change();
}

void Decision::obey(const event::Requested& request, const HoldCommand&) {
  if (state_.change) {
    refuse(request, RecordKind::hold, in_progress(*state_.change));
    return;
  }
  if (const Guard held = hold_guard(state_); !held.passed) {
    refuse(request, RecordKind::hold, held.text);
    return;
  }
  state_.change = begin(RecordKind::hold, state_.durable.route, request);
  state_.change->target.hold = Hold{request.actor, request.reason, request.wall_unix_ms};
  commit();
}

void Decision::obey(const event::Requested& request, const ReleaseCommand&) {
  if (state_.change) {
    refuse(request, RecordKind::release, in_progress(*state_.change));
    return;
  }
  if (!state_.durable.hold) {
    answer(request.request, "there is no hold; nothing changed", std::nullopt, std::nullopt);
    return;
  }
  state_.change = begin(RecordKind::release, state_.durable.route, request);
  state_.change->target.hold.reset();
  commit();
}

void Decision::refuse(const event::Requested& request, RecordKind kind, const std::string& why, std::optional<Route> to) {
  if (state_.booted) {
    note({.kind = kind, .actor = request.actor, .from = state_.effective, .to = std::move(to), .reason = request.reason,
          .message = why, .result = Result::refused});
  }
  actions_.emplace_back(action::Answer{request.request, Error{ErrorCode::refused, why}, "", {}, {}, {}});
}

/// That things are as wanted already. An earlier change that made them so may still be on its way to the disk.
void Decision::answer(RequestId request, std::string message, std::optional<Route> from, std::optional<Route> to) {
  if (!state_.save_trouble.empty()) {
    message += "; WARNING: it could not be saved (" + state_.save_trouble + ") and is tried again";
  } else if (state_.unsaved || state_.save_ticket) {
    message += "; WARNING: it is not saved yet";
  }
  actions_.emplace_back(
      action::Answer{request, std::nullopt, std::move(message), std::move(from), std::move(to), Milliseconds{0}});
}

}  // namespace dualdeploy
