#include "simulation/promises.hpp"

#include <algorithm>
#include <ranges>

namespace dualdeploy::simulation {

namespace {

/// The answers that say themselves that something is not durable yet: a way back stands, saved or not.
bool warns(const action::Answer& answer) { return answer.message.find("WARNING: it ") != std::string::npos; }

bool is_way_back(const Command& command) {
  return std::holds_alternative<RevertCommand>(command) || std::holds_alternative<RescueCommand>(command);
}

bool moves_by_itself(RecordKind kind) {
  return kind == RecordKind::restore || kind == RecordKind::failover || kind == RecordKind::auto_revert ||
         kind == RecordKind::expire || kind == RecordKind::interrupted;
}

}  // namespace

Promises::Promises(const ServiceWorld& world) : world_(world), time_(world.machine().time) {}

void Promises::violated(const std::string& promise) const { time_.violated(world_.policy().name + ": " + promise); }

bool Promises::kernel_in_trouble() const {
  return now() - world_.machine().router.trouble_at() < 15s || state().repair_to || !state().kernel_trouble.empty();
}

bool Promises::clock_excuses() const {
  const bool renewed_at_once = alive_since_ && now() - std::max(*alive_since_, time_.wall_set_at()) > 7s && !kernel_in_trouble();
  return world_.machine().kernel.backend() == Backend::iptables && !renewed_at_once;
}

// ---- What happened -----------------------------------------------------------------------------------------------------

void Promises::agent_starts(bool state_unreadable) {
  unreadable_ = state_unreadable;
  sick_rpm_chosen_ = false;
  for (Patience* patience : {&sick_, &truly_sick_, &failover_due_, &no_way_back_, &front_forgotten_, &dead_agent_}) {
    patience->reset();
  }
  for (const Side side : both_sides) starts_[side].clear();
  moves_by_itself_ = 0;
  // A disk that failed and a flush together leave nobody who knows of it.
  const std::optional<Durable>& saved = world_.saved();
  auto_reverted_ = auto_reverted_ && saved && saved->route.all_rpm();
  may_have_.push_back(world_.kernel_route());
  const Kernel& kernel = world_.machine().kernel;
  found_held_at_ = kernel.held(world_.index()) ? std::optional(now()) : std::nullopt;
  found_held_until_ = now() + kernel.seen(world_.index()).held;
}

/// Whoever stops the agent is not left with clients who wait for nobody.
void Promises::agent_leaves() {
  const bool held = world_.machine().kernel.held(world_.index());
  if (held && !kernel_in_trouble()) violated("the agent has left, and clients are held");
}

/// Whom an earlier agent has left waiting would be refused if nobody serves yet.
void Promises::lets_in() {
  const bool waited_for_long = found_held_at_ && now() - *found_held_at_ >= world_.policy().handover_deadline;
  const Side holder = state().effective.uses(Side::container) ? Side::container : Side::rpm;
  const bool healthy = state().sides[holder].verdict == Verdict::healthy;
  if (found_held_at_ && !state().change && !state().stopping && !waited_for_long && !healthy) violated("clients are let in before anybody serves them");
  found_held_at_.reset();
}

void Promises::operator_acts() {
  sick_rpm_chosen_ = false;
  moves_by_itself_ = 0;
  handovers_by_itself_.clear();
}

void Promises::policy_changes() {
  auto_reverted_ = false;
  failover_due_.reset();
}

void Promises::starts(Side side) {
  std::deque<Instant>& starts = starts_[side];
  starts.push_back(now());
  while (now() - starts.front() > 30s) starts.pop_front();
  constexpr std::size_t most = 12;  // Backoff from 1 s on, and a start for each of some flips.
  if (starts.size() > most) violated(fmt::format("{} was started {} times in 30 s", dualdeploy::name_of(side), starts.size()));
  const std::optional<Change>& change = state().change;
  const bool second_step = change && change->handover && change->handover->step == Handover::Step::start;
  if (second_step && change->handover->to == side && !world_.sides().running(side) && !world_.sides().front_free()) {
    violated(fmt::format("{} was started while the port was taken", dualdeploy::name_of(side)));
  }
}

/// What was asked for later may still be on its way.
void Promises::has_got(const Route& route) {
  const auto asked = std::ranges::find(may_have_, route);
  if (asked == may_have_.end()) {
    may_have_ = {route};
  } else {
    may_have_.erase(may_have_.begin(), asked);
  }
}

void Promises::proof_fails(const Route& route) {
  if (state().change && state().change->from != route) failed_proof_ = route;
}

void Promises::recorded(const Record& record) {
  if (record.result != Result::done) return;
  if (record.kind == RecordKind::flip) auto_reverted_ = false;
  if (record.kind == RecordKind::auto_revert) auto_reverted_ = world_.policy().rpm_unhealthy == RpmUnhealthy::stay;
}

void Promises::decided(const Event& event, const Route& effective_before, std::optional<RecordKind> change_before) {
  if (std::holds_alternative<event::Booted>(event)) {
    if (unreadable_ && !state().durable.route.all_rpm()) violated("unreadable state did not end at the RPM");
    return;
  }
  const bool new_change = state().change && (!change_before || *change_before != state().change->kind);
  const bool by_itself = state().change && moves_by_itself(state().change->kind);
  if (new_change && by_itself && world_.policy().strategy == Strategy::handover) {
    handovers_by_itself_.push_back(now());
    while (now() - handovers_by_itself_.front() > 10min) handovers_by_itself_.pop_front();
    // Each agent of a loop of deaths begins one; after ten starts in a minute systemd gives it up, which is not modelled here.
    constexpr std::size_t most = 12;
    if (handovers_by_itself_.size() > most) violated("the agent by itself began 13 handovers within 10 minutes");
  }
  const bool to_container = !effective_before.uses(Side::container) && state().effective.uses(Side::container);
  if (!to_container || change_before == RecordKind::flip) return;
  constexpr int most = 3;  // The saved route restored, a failover, a confirmation's route before it.
  if (++moves_by_itself_ > most) violated("the agent by itself went to the container again and again");
}

// ---- Answers -----------------------------------------------------------------------------------------------------------

void Promises::answered(const Request& request, const action::Answer& answer) {
  if (answer.error) {
    check_failed(request, answer);
  } else if (!warns(answer)) {
    check_acknowledged(request);
  }
}

/// What failed left everything as it was.
void Promises::check_failed(const Request& request, const action::Answer& answer) {
  if (is_way_back(request.command) && answer.error->code == ErrorCode::refused && state().booted) violated("a revert was refused");
  const auto* flip = std::get_if<FlipCommand>(&request.command);
  if (flip == nullptr) return;
  // A way back may just have begun, or the kernel be asked again; and a disk that has written what it says it has not is told
  // again at once.
  const bool under_way = state().change || state().repair_to;
  const bool told_again = now() - world_.machine().disk.misreported_at(world_.index()) < 3min;
  const Route saved = world_.saved() ? world_.saved()->route : Route{};
  if (saved == flip->to && request.saved != flip->to && request.intended != flip->to && !told_again && !under_way) {
    violated("a flip that failed is the saved route: " + dualdeploy::describe(saved));
  }
  if (state().durable.route == flip->to && request.intended != flip->to) violated("a flip that failed is the intended route");
  if (state().effective == flip->to && request.effective != flip->to && !under_way && !flip->to.all_rpm()) {
    violated("a flip that failed is the route: " + dualdeploy::describe(flip->to));
  }
}

/// What is acknowledged is on disk.
void Promises::check_acknowledged(const Request& request) {
  const Durable saved = world_.saved().value_or(Durable{});
  if (const auto* flip = std::get_if<FlipCommand>(&request.command)) {
    auto_reverted_ = false;
    const bool was_initial = !world_.saved() && state().durable.route == flip->to;  // Nothing saved is the initial route.
    if (saved.route != flip->to && !was_initial) {
      violated("an acknowledged flip to " + dualdeploy::describe(flip->to) +
               " is not durable: " + dualdeploy::describe(saved.route));
    }
    if (request.held && saved.hold) violated("a flip went past a hold");
    const Side target = flip->to.uses(Side::container) ? Side::container : Side::rpm;
    const bool handed_over = world_.policy().strategy == Strategy::handover && flip->to != request.effective;
    if (handed_over && handover_reached_ != target && !state().change) {
      violated("an acknowledged handover to a side that has not become healthy");
    }
    if (flip->confirm_within && !flip->to.all_rpm() && !saved.confirm && flip->to != request.intended) {
      violated("a flip to be confirmed is durable without its deadline");
    }
  } else if (is_way_back(request.command)) {
    if (!saved.route.all_rpm()) violated("an acknowledged revert is not durable");
    sick_rpm_chosen_ = state().sides[Side::rpm].verdict == Verdict::sick;
  } else if (std::holds_alternative<HoldCommand>(request.command)) {
    if (!saved.hold) violated("an acknowledged hold is not durable");
  } else if (std::holds_alternative<ReleaseCommand>(request.command)) {
    if (saved.hold) violated("an acknowledged release is not durable");
  } else if (saved.confirm) {
    violated("an acknowledged confirmation is not durable");
  }
}

// ---- After every step --------------------------------------------------------------------------------------------------

void Promises::after_step() {
  check_side();
  check_failover();
  check_handover();
  check_holds_and_changes();
  check_own_doings();
}

/// Never on a side known to be sick while the other is known to be healthy: the container's case. (A sick RPM is an operator's
/// decision, or a failover's.)
void Promises::check_side() {
  const SideState& container = state().sides[Side::container];
  const Route route = world_.kernel_route();
  const bool hopeless = container.verdict == Verdict::sick || (container.reported && known_down(container));
  const bool bad = route.uses(Side::container) && hopeless && state().sides[Side::rpm].verdict == Verdict::healthy;
  const bool excused = kernel_in_trouble();
  if (sick_.lost(bad && !excused, now())) violated("traffic stays on a sick container beside a healthy RPM");
  // What checks have not (been allowed to) tell the core shows in the world itself.
  const bool truly_bad = route.uses(Side::container) && !world_.sides().serves(Side::container) &&
                         world_.sides().serves(Side::rpm);
  if (truly_sick_.lost(truly_bad && !excused, now())) {
    violated("traffic stays on a container that does not answer, beside an RPM that does");
  }
  // With one port the other side can only be tried.
  const bool has_port = world_.policy().strategy == Strategy::handover && !state().holder_unknown &&
                        state().effective.uses(Side::container);
  const bool stuck = has_port && container.verdict == Verdict::sick && !state().change && !world_.sides().running(Side::rpm);
  if (no_way_back_.lost(stuck && !excused, now())) {
    violated("the container has the port and is sick, and the RPM is not tried");
  }
}

void Promises::check_failover() {
  const ServicePolicy& policy = world_.policy();
  const bool wanted = policy.rpm_unhealthy == RpmUnhealthy::failover && policy.strategy == Strategy::redirect;
  const bool possible = !state().stopping && !state().failover_latched && !state().rpm_chosen && !state().change && !state().durable.hold &&
                        !state().durable.confirm;
  const bool due = wanted && possible && state().effective.uses(Side::rpm) && state().sides[Side::rpm].verdict == Verdict::sick &&
                   state().sides[Side::container].verdict == Verdict::healthy;
  if (failover_due_.lost(due && !kernel_in_trouble(), now())) violated("a sick RPM beside a healthy container, and no failover");
}

void Promises::check_handover() {
  if (!state().change || !state().change->handover) return;
  const Handover& handover = *state().change->handover;
  if (handover.step == Handover::Step::hold) handover_reached_.reset();
  // It may die a moment later.
  const bool started = handover.step == Handover::Step::healthy || handover.step == Handover::Step::release;
  if (started && state().sides[handover.to].verdict == Verdict::healthy) handover_reached_ = handover.to;
  // Each of its steps has a deadline of its own, on both ways.
  const Milliseconds most = 2 * world_.policy().handover_deadline + 10min;
  if (now() - handover.held_at > most) violated("a handover goes on and on");
}

void Promises::check_holds_and_changes() {
  const std::optional<Change>& change = state().change;
  const bool chosen = change && (change->kind == RecordKind::flip || change->kind == RecordKind::failover) && has_begun(*change);
  if (chosen && state().durable.hold) violated("the route is changed in spite of a hold");
  const auto waits =
      std::ranges::count_if(world_.requests(), [](const auto& entry) { return !is_way_back(entry.second.command); });
  if (waits > 1) violated("two changes at a time");
}

void Promises::check_own_doings() {
  if (auto_reverted_ && !state().durable.route.all_rpm() && !state().change) {
    violated("after its own revert the agent went back to the container by itself");
  }
  if (state().sides[Side::rpm].verdict == Verdict::healthy) sick_rpm_chosen_ = false;
  if (sick_rpm_chosen_ && state().change && state().change->kind == RecordKind::failover) {
    violated("a failover undoes a revert");
  }
  if (failed_proof_ && !state().change && state().effective == *failed_proof_ && !failed_proof_->all_rpm() && !kernel_in_trouble()) {
    violated("a flip stays although its proof failed");
  }
  // A failover that begins at once, because the RPM is sick, is another matter; so is a route that was acknowledged before
  // and is put back.
  const bool another = state().change && (state().change->kind == RecordKind::failover ||
                                          state().change->kind == RecordKind::restore);
  if (!state().change || another) failed_proof_.reset();
}

// ---- What the kernel does, whoever is alive ------------------------------------------------------------------------------

void Promises::check_kernel() {
  const Route route = world_.kernel_route();
  if (!time_.alive()) alive_since_.reset();
  if (time_.alive() && !alive_since_) alive_since_ = now();
  check_front_hold();
  check_inherited_hold();
  const bool stays = !time_.alive() && !route.all_rpm() && !clock_excuses();
  if (dead_agent_.lost(stays, now())) violated("the agent is dead, and the redirect outlives its lease");
  if (route.all_rpm()) return;
  if (std::ranges::find(may_have_, route) == may_have_.end()) {
    violated("the kernel follows a route that nobody has asked for this service: " + dualdeploy::describe(route));
  }
  check_unconfirmed(route);
}

/// An unconfirmed flip never outlives its deadline, nor a reboot.
void Promises::check_unconfirmed(const Route& route) {
  const std::optional<Durable>& saved = world_.saved();
  if (!saved || !saved->confirm) return;
  const Confirm& confirm = *saved->confirm;
  if (route == confirm.back_to || route != saved->route) return;
  // A failover of its own may go to the same route, while the disk still has the flip that ended.
  if (time_.alive() && world_.policy().rpm_unhealthy == RpmUnhealthy::failover && !state().durable.confirm) return;
  // Asked for again, with another deadline that the disk does not know yet: the kernel keeps that one.
  const std::optional<Instant> until = world_.machine().kernel.until(world_.index());
  if (time_.alive() && (state().change || kernel_in_trouble()) && until && now() <= *until) return;
  constexpr Milliseconds slack = 100ms;
  const bool other_boot = confirm.boot_id != world_.machine().boot_id();
  if (other_boot) violated("after a reboot the kernel follows an unconfirmed flip: " + dualdeploy::describe(route));
  if (!other_boot && now() > confirm.deadline + slack && !clock_excuses()) {
    violated("an unconfirmed flip outlives its deadline: " + dualdeploy::describe(route));
  }
}

/// An agent that starts does not let in by the way whom an earlier one has left waiting.
void Promises::check_inherited_hold() {
  if (!time_.alive()) found_held_at_.reset();
  if (!found_held_at_ || world_.machine().kernel.held(world_.index())) return;
  const bool ended = now() + 3s >= found_held_until_;  // Both backends count whole seconds.
  if (world_.machine().kernel.has_table() && !ended && !clock_excuses()) violated("clients who waited were let in by nobody's decision");
  found_held_at_.reset();
}

/// Clients wait no longer than the lease of their hold, and for nothing but a handover.
void Promises::check_front_hold() {
  if (!world_.machine().kernel.held(world_.index())) {
    held_since_.reset();
    front_forgotten_.reset();
    return;
  }
  if (!held_since_) held_since_ = now();
  const Milliseconds most = 2 * 20s + 30s + 1s;  // As handover.cpp has it, of the longest deadline here.
  if (now() - *held_since_ > most && !clock_excuses()) violated("clients are held for longer than the lease of their hold");
  const bool waits = state().held_until && now() < state().release_by;  // For a side to become healthy.
  const bool forgotten = time_.alive() && world_.begun() && !state().change && !waits;
  if (front_forgotten_.lost(forgotten && !kernel_in_trouble(), now())) violated("clients are held, and there is no handover");
}

// ---- At the end ----------------------------------------------------------------------------------------------------------

void Promises::check_end() {
  const ServiceState& is = state();
  const Route wanted = is.durable.route;
  if (!world_.requests().empty()) violated(fmt::format("request {} was never answered", world_.requests().begin()->first));
  if (is.change) violated("a change never ends: " + std::string(dualdeploy::name_of(is.change->phase)));
  if (world_.saved() && world_.saved()->confirm) violated("an unconfirmed flip was never ended");
  if (world_.saved() && world_.saved()->route != wanted) {
    violated("the disk has another route than the agent: " + dualdeploy::describe(world_.saved()->route));
  }
  if (is.unsaved) violated("the state was never saved");
  if (is.effective != wanted) {
    violated(fmt::format("intended {} was never reached, it is {}: {}", dualdeploy::describe(wanted),
                         dualdeploy::describe(is.effective), why_not_intended(is)));
  }
  if (world_.machine().kernel.held(world_.index())) violated("clients are still held");
  if (world_.policy().strategy == Strategy::handover) {
    const Side holder = is.effective.uses(Side::container) ? Side::container : Side::rpm;
    if (!world_.kernel_route().all_rpm()) violated("a handover has left a redirect");
    const std::string name(dualdeploy::name_of(holder));
    if (!world_.sides().serves(holder)) violated(name + " has the port and does not serve");
    if (is.sides[holder].verdict != Verdict::healthy) violated(name + " is not known to be healthy");
    return;
  }
  if (world_.kernel_route() != is.effective) {
    violated("the kernel has " + dualdeploy::describe(world_.kernel_route()) +
             ", the agent believes " + dualdeploy::describe(is.effective));
  }
  const bool container_due = world_.policy().standby == Standby::warm || is.effective.uses(Side::container);
  if (is.sides[Side::rpm].verdict != Verdict::healthy) violated("the RPM is not known to be healthy");
  if (container_due && is.sides[Side::container].verdict != Verdict::healthy) violated("the container was never brought up");
}

}  // namespace dualdeploy::simulation
