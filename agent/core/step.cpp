#include "core/step.hpp"

#include <algorithm>

#include "core/decision.hpp"

namespace dualdeploy {

using Phase = Change::Phase;

std::vector<Action> Decision::decide(const Event& event) {
  std::visit([this](const auto& happened) { on(happened); }, event);
  if (state_.booted) follow_up();
  return std::move(actions_);
}

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
  if (state.durable.confirm && (!state.change || !has_begun(*state.change))) consider(state.durable.confirm->deadline);
  if (state.change && state.change->handover && state.change->handover->step == Handover::Step::healthy) {
    consider(state.change->handover->deadline);
  }
  for (const Side which : both_sides) {
    const SideState& side = state.sides[which];
    if (!side.reported || side.operating || state.holder_unknown || (state.change && state.change->handover)) continue;
    if (!wanted_up(state, which)) {
      if (state.policy.strategy == Strategy::handover) {
        const bool in_the_way = side.workload.state == RunState::running && known_down(state.sides[other(which)]);
        if (in_the_way) consider(side.not_before);
        continue;
      }
      const bool may_run = !known_down(side) && side.workload.state != RunState::unknown;
      if (may_run) consider(std::max(side.not_before, state.container_used_at + state.policy.stop_after));
      continue;
    }
    if (known_down(side) || (side.workload.outdated && !in_use(state, which))) consider(side.not_before);
    const SidePolicy& rules = state.policy.sides[which];
    if (side.workload.state == RunState::running && side.verdict == Verdict::sick && side.failed_in_row >= rules.fall) {
      consider(std::max(side.not_before, side.running_since + rules.start_period));
    }
  }
  const bool handing_over = state.change && state.change->handover;
  if (state.held_until && !state.release_ticket && !handing_over) consider(now < state.release_at ? state.release_at : state.release_by);
  if (!state.change) {
    if (now < state.failover_at) consider(state.failover_at);
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
  if (!state.holder_unknown && (state.durable.route == state.effective || state.repair_to)) return true;
  if (now >= state.booted_at + state.policy.start_patience) return true;
  const SideState& container = state.sides[Side::container];
  return container.verdict == Verdict::sick || !container.last_operation_error.empty() ||
         (container.reported &&
          (container.workload.state == RunState::missing || container.workload.state == RunState::unknown));
}

bool halfway(const ServiceState& state) {
  const bool handing_over = state.policy.strategy == Strategy::handover && state.change && has_begun(*state.change);
  return handing_over || state.held_until;
}

bool awaits(const ServiceState& state, Ticket ticket) { return state.change && state.change->ticket == ticket; }

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
  if (state.held_until && !(state.change && state.change->handover)) {
    texts.push_back("new connections are held: a handover has not let them in yet");
  }
  if (!state.save_trouble.empty()) texts.push_back("the state cannot be saved: " + state.save_trouble);
  for (const Side side : both_sides) {
    const std::string& trouble = state.sides[side].check_trouble;
    if (!trouble.empty()) texts.push_back("the " + std::string(name_of(side)) + " side cannot be checked: " + trouble);
  }
  return texts;
}

}  // namespace dualdeploy
