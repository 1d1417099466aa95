#include "simulation/mutation.hpp"

#include <utility>

namespace dualdeploy::simulation {

using namespace std::chrono_literals;

namespace {

/// The same answer to whatever is waited for now.
template <class Answer>
Event for_present_ticket(Answer answer, const ServiceState& state) {
  if (state.change) answer.ticket = state.change->ticket;
  return answer;
}

std::optional<Event> without_container_failures(const Event& event, bool deaths_too, bool only_in_use,
                                                const ServiceState& state) {
  if (only_in_use && !state.effective.uses(Side::container)) return event;
  const auto* probed = std::get_if<event::Probed>(&event);
  if (probed != nullptr && probed->side == Side::container && probed->failure) return std::nullopt;
  const auto* reported = std::get_if<event::Reported>(&event);
  const bool death = reported != nullptr && reported->side == Side::container &&
                     (reported->workload.state == RunState::stopped || reported->workload.state == RunState::failed);
  if (deaths_too && death) return std::nullopt;
  return event;
}

}  // namespace

std::optional<Event> Mutation::told(const Event& event, const ServiceState& state, Instant now,
                                    const std::optional<Durable>& half_written) const {
  const auto* requested = std::get_if<event::Requested>(&event);
  const auto* booted = std::get_if<event::Booted>(&event);
  switch (mutant_) {
    case Mutant::ignores_sick_container: return without_container_failures(event, false, false, state);
    case Mutant::ignores_dead_container: return without_container_failures(event, true, true, state);
    case Mutant::keeps_failed_proof:
      if (const auto* proved = std::get_if<event::Proved>(&event)) return event::Proved{proved->ticket, {}};
      return event;
    case Mutant::gives_up_repair:
      if (const auto* applied = std::get_if<event::Applied>(&event)) return event::Applied{applied->ticket, {}};
      return event;
    case Mutant::starts_on_taken_port:
      if (const auto* free = std::get_if<event::PortsFree>(&event)) return event::PortsFree{free->ticket, {}};
      return event;
    case Mutant::never_answers:
      if (requested != nullptr && requested->request % 5 == 0) return std::nullopt;
      return event;
    case Mutant::gates_reverts:
      if (requested != nullptr && std::holds_alternative<RevertCommand>(requested->command) && state.durable.hold) {
        event::Requested gated = *requested;
        gated.command = FlipCommand{.to = Route{}, .wait = {}};
        return gated;
      }
      return event;
    case Mutant::accepts_stale_answers:
      if (const auto* applied = std::get_if<event::Applied>(&event)) return for_present_ticket(*applied, state);
      if (const auto* saved = std::get_if<event::Saved>(&event)) return for_present_ticket(*saved, state);
      if (const auto* proved = std::get_if<event::Proved>(&event)) return for_present_ticket(*proved, state);
      return event;
    case Mutant::trusts_unreadable_state:
    case Mutant::believes_torn_state:
      if (booted != nullptr && !booted->trouble.empty()) {
        event::Booted trusting = *booted;
        if (mutant_ == Mutant::believes_torn_state && !half_written) return event;
        trusting.trouble.clear();
        trusting.durable = half_written ? *half_written : Durable{.route = Route::of(100), .hold = {}, .intent = {}};
        return trusting;
      }
      return event;
    case Mutant::keeps_confirm_after_boot:
      if (booted != nullptr && booted->durable && booted->durable->confirm) {
        event::Booted forgetful = *booted;
        forgetful.durable->confirm->boot_id = booted->boot_id;
        forgetful.durable->confirm->deadline = now + 10min;
        return forgetful;
      }
      return event;
    case Mutant::forgets_who_waits:
      if (booted != nullptr) {
        event::Booted forgetful = *booted;
        forgetful.kernel.held = 0ms;
        return forgetful;
      }
      return event;
    default: return event;
  }
}

void Mutation::before_step(ServiceState& state, const Event& event) {
  if (!std::holds_alternative<event::Requested>(event)) return;
  if (mutant_ == Mutant::overrides_holds) hidden_hold_ = std::exchange(state.durable.hold, std::nullopt);
  const auto* flip = std::get_if<FlipCommand>(&std::get<event::Requested>(event).command);
  if (mutant_ == Mutant::two_changes_at_once && flip != nullptr) hidden_change_ = std::exchange(state.change, std::nullopt);
}

void Mutation::after_step(ServiceState& state, std::vector<Action>& actions, Instant now) {
  if (hidden_hold_ && !state.durable.hold) state.durable.hold = hidden_hold_;
  hidden_hold_.reset();
  if (hidden_change_ && !state.change) state.change = hidden_change_;
  hidden_change_.reset();
  change_wishes(state, actions);
  switch (mutant_) {
    case Mutant::restores_after_revert:
      if (auto_reverted_ && !state.change && state.durable.route.all_rpm()) state.durable.route = Route::of(100);
      break;
    case Mutant::never_expires:
      if (state.durable.confirm) state.durable.confirm->deadline = now + 1h;
      break;
    case Mutant::flaps_by_failover: state.failover_latched = false; break;
    case Mutant::forgets_failed_flip:
      for (const Action& action : actions) {
        const auto* note = std::get_if<action::Note>(&action);
        const bool failed_flip = note != nullptr && note->record.kind == RecordKind::flip && note->record.result == Result::failed;
        if (failed_flip && note->record.to) state.durable.route = *note->record.to;
      }
      break;
    case Mutant::waits_for_health_forever:
      if (state.change && state.change->handover) state.change->handover->deadline = now + 1h;
      break;
    case Mutant::lets_in_too_early: state.release_by = now; break;
    case Mutant::no_backoff:
      for (const Side side : both_sides) {
        state.sides[side].not_before = now;
        state.sides[side].attempts = 0;
      }
      break;
    default: break;
  }
}

void Mutation::change_wishes(const ServiceState& state, std::vector<Action>& actions) {
  for (Action& action : actions) {
    if (const auto* save = std::get_if<action::Save>(&action); save != nullptr && save->record) {
      auto_reverted_ = save->record->kind == RecordKind::auto_revert;
    }
    if (auto* apply = std::get_if<action::Apply>(&action); apply != nullptr && mutant_ == Mutant::forgets_the_deadline) {
      apply->until.reset();
    }
    if (auto* hold = std::get_if<action::HoldFront>(&action)) {
      if (mutant_ == Mutant::never_ends_hold && !hold->hold) *hold = action::HoldFront{hold->ticket, true, 60s};
      if (mutant_ == Mutant::holds_without_lease && hold->hold) hold->lease = 24h;
    }
  }
  if (mutant_ == Mutant::starts_no_old_side && state.change && state.change->handover && state.change->handover->going_back) {
    std::erase_if(actions, [](const Action& action) {
      const auto* operate = std::get_if<action::Operate>(&action);
      return operate != nullptr && operate->operation == Operation::start;
    });
  }
}

}  // namespace dualdeploy::simulation
