#include "simulation/world.hpp"

#include <algorithm>
#include <array>

namespace dualdeploy::simulation {

namespace {
constexpr Milliseconds establish_retry{2'000};
constexpr Milliseconds observing{20};

Machine drawn_machine(Timeline& time) {
  const Backend backend = time.chance(0.3) ? Backend::iptables : Backend::nftables;
  constexpr std::size_t most_services = 4;
  return Machine(time, backend, 1 + time.one_of(most_services));
}
}  // namespace

World::World(const Scenario& scenario) : time_(scenario), machine_(drawn_machine(time_)) {
  machine_.kill_agent = [this] { kill_agent(); };
  machine_.cut_power = [this] { reboot(true); };
  for (std::size_t i = 0; i < machine_.services; ++i) services_.push_back(std::make_unique<ServiceWorld>(machine_, i));
}

Outcome World::run() {
  start_agent();
  schedule_faults();
  time_.later(time_.between(5s, 20s), Timeline::world, [this] { act(); });
  time_.run([this] {
    for (const auto& service : services_) service->check_kernel();
  });
  if (time_.ended_well()) {
    if (!time_.alive()) time_.violated("the agent was not started again");
    for (const auto& service : services_) service->check_end();
  }
  return time_.outcome();
}

// ---- The agent's life --------------------------------------------------------------------------------------------------

void World::start_agent() {
  time_.begin_life();
  machine_.router.begin();
  rescuing_ = false;
  time_.tell("agent starts");
  time_.later(observing, time_.life(), [this] { take_over(); });
}

/// Every service decides from what was saved and what the kernel holds; then the rules are written, and only then anything
/// is carried out.
void World::take_over() {
  for (const auto& service : services_) service->boot();
  const std::uint64_t life = time_.life();
  machine_.router.establish(rules(), [this, life](const std::optional<Error>& error) {
    if (error) establish_later();
    for (const auto& service : services_) {
      service->begin();
      if (!time_.alive() || life != time_.life()) return;  // Killed between two of the first actions.
    }
  });
}

std::vector<ServiceRules> World::rules() const {
  std::vector<ServiceRules> all;
  for (const auto& service : services_) all.push_back(service->rules());
  return all;
}

/// Again and again until it works.
void World::establish_later() {
  time_.later(establish_retry, time_.life(), [this] {
    machine_.router.establish(rules(), [this](const std::optional<Error>& error) {
      if (error) establish_later();
    });
  });
}

void World::kill_agent(bool power_cut) {
  if (!time_.alive()) return;
  time_.tell("agent killed");
  time_.end_life();
  machine_.died_at = time_.now();
  machine_.disk.agent_died(power_cut);
  for (const auto& service : services_) service->agent_died();
  time_.later(time_.chance(0.8) ? time_.between(250ms, 2s) : time_.between(2s, 150s), Timeline::world, [this] {
    if (time_.alive()) return;
    start_agent();
    if (kills_to_come_ <= 0) return;
    --kills_to_come_;
    time_.later(time_.between(0ms, 3s), time_.life(), [this] { kill_agent(); });
  });
}

/// As systemd stops it: with the time to bring to an end what should not be left halfway.
void World::stop_agent() {
  time_.tell("agent is stopped");
  for (const auto& service : services_) {
    if (time_.alive() && service->begun()) service->prepare_to_end();
  }
  end_agent(time_.now() + 25s);
}

void World::end_agent(Instant at_the_latest) {
  if (!time_.alive()) return;
  const bool waits = std::ranges::any_of(services_, [](const auto& service) { return halfway(service->state()); });
  if (waits && time_.now() < at_the_latest) {
    time_.later(50ms, time_.life(), [this, at_the_latest] { end_agent(at_the_latest); });
    return;
  }
  if (!waits) {
    for (const auto& service : services_) service->agent_leaves();
  }
  kill_agent();
}

/// Other settings of one service.
void World::reload() {
  ServiceWorld& service = any_service();
  ServicePolicy policy = service.policy();
  policy.bake = time_.between(0ms, 20s);
  policy.before_hook = time_.chance(0.3);
  policy.standby = time_.chance(0.15) ? Standby::cold : Standby::warm;
  policy.rpm_unhealthy = time_.chance(0.2) ? RpmUnhealthy::failover : RpmUnhealthy::stay;
  if (time_.chance(0.2)) policy.strategy = policy.strategy == Strategy::handover ? Strategy::redirect : Strategy::handover;
  const bool container_changed = time_.chance(0.5);
  if (!time_.alive() || !service.begun()) return;
  if (policy.strategy != service.policy().strategy) return change_strategy(service, policy);
  time_.tell("{}: reloaded{}", policy.name, container_changed ? ", another container" : "");
  PerSide<bool> changed;
  changed[Side::container] = container_changed;
  service.configure(policy, changed);
}

/// Everything goes home before the ground is taken from under it.
void World::change_strategy(ServiceWorld& service, const ServicePolicy& policy) {
  time_.tell("{}: another strategy", policy.name);
  service.request(RevertCommand{}, [this, &service, policy](const action::Answer&) {
    time_.later(0ms, time_.life(), [this, &service, policy] {
      PerSide<bool> changed;
      changed[Side::rpm] = changed[Side::container] = true;
      service.configure(policy, changed);
      if (time_.alive()) machine_.router.establish(rules(), [](const std::optional<Error>&) {});
    });
  });
}

/// One service after the other, and then all rules are taken away.
void World::rescue(std::size_t next, int rounds_left) {
  rescuing_ = true;
  if (next < services_.size()) {
    services_[next]->request(RescueCommand{}, [this, next, rounds_left](const action::Answer&) {
      time_.later(0ms, time_.life(), [this, next, rounds_left] { rescue(next + 1, rounds_left); });
    });
    return;
  }
  machine_.router.stand_down([this, rounds_left](const std::optional<Error>& error) {
    rescuing_ = false;
    const bool anybody_back = std::ranges::any_of(
        services_, [](const auto& service) { return wanted_in_kernel(service->state()).uses(Side::container); });
    if (anybody_back && !error && rounds_left > 0) rescue(0, rounds_left - 1);
  });
}

// ---- Operators ---------------------------------------------------------------------------------------------------------

void World::act() {
  if (acts_++ >= time_.scenario().operators_acts) return begin_quiet();
  time_.later(time_.chance(0.3) ? time_.between(1ms, 200ms) : time_.between(1s, 40s), Timeline::world, [this] { act(); });
  ServiceWorld& service = any_service();
  const FlipCommand flip = drawn_flip(service);
  const double which = static_cast<double>(time_.one_of(100)) / 100;
  const bool confirms = time_.chance(0.5);
  const Milliseconds after = time_.between(100ms, 30s);
  if (!time_.alive() || !service.begun()) return;
  if (which < 0.62) {
    service.request(flip);
    if (flip.confirm_within && confirms) confirm_later(service, after);
  } else if (which < 0.70) {
    service.request(ConfirmCommand{});
  } else if (which < 0.80) {
    service.request(RevertCommand{});
  } else if (which < 0.88) {
    service.request(HoldCommand{});
  } else if (which < 0.97) {
    service.request(ReleaseCommand{});
  } else {
    if (!rescuing_) rescue(0, 2);
  }
}

/// In time or too late.
void World::confirm_later(ServiceWorld& service, Milliseconds after) {
  time_.later(after, time_.life(), [&service] { service.request(ConfirmCommand{}); });
}

FlipCommand World::drawn_flip(const ServiceWorld& service) {
  constexpr std::array percents{0, 100, 100, 100, 25, 5};
  FlipCommand flip;
  const int percent = percents[time_.one_of(percents.size())];
  std::vector<Network> testers;
  if (time_.chance(0.1)) testers.push_back(*Network::parse("10.1.0.0/16"));
  const bool sticky = time_.chance(0.2);
  const bool one_port = service.policy().strategy == Strategy::handover && time_.chance(0.9);
  flip.to = one_port ? Route::of(percent == 0 ? 0 : 100) : Route::of(percent, sticky, std::move(testers));
  flip.force = time_.chance(0.05);
  if (time_.chance(0.5) || service.policy().standby == Standby::cold) flip.wait = time_.between(1s, 20s);
  if (time_.chance(one_port ? 0.05 : 0.35)) flip.confirm_within = time_.between(2s, 40s);
  return flip;
}

// ---- What goes wrong by itself -----------------------------------------------------------------------------------------

void World::schedule_faults() {
  for (const auto& service : services_) schedule_faults_of(*service);
  time_.every(30s, 300s, [this] {
    if (time_.may(Fault::flushed)) flush_by_others();
  });
  time_.every(60s, 600s, [this] {
    if (!time_.may(Fault::agent_killed)) return;
    time_.struck(Fault::agent_killed);
    if (time_.chance(0.5)) return stop_agent();
    kill_agent();
  });
  time_.every(500s, 3000s, [this] {
    kills_to_come_ = static_cast<int>(2 + time_.one_of(6));
    if (!time_.may(Fault::kill_loop)) kills_to_come_ = 0;
    if (kills_to_come_ == 0) return;
    time_.struck(Fault::kill_loop);
    kill_agent();
  });
  time_.every(300s, 2000s, [this] {
    if (!time_.may(Fault::reboot)) return;
    time_.struck(Fault::reboot);
    reboot(false);
  });
  time_.every(200s, 1000s, [this] {
    const Side side = drawn_side();
    const Milliseconds time = time_.between(2s, 60s);
    if (time_.may(Fault::engine_silent)) fall_silent(side, time);
  });
  time_.every(300s, 2000s, [this] {
    if (time_.may(Fault::engine_restarts)) engine_restarts();
  });
  time_.every(100s, 600s, [this] { set_clock(); });
  time_.every(100s, 900s, [this] { reload(); });
}

void World::schedule_faults_of(ServiceWorld& service) {
  time_.every(20s, 200s, [this, &service] {
    const Side side = drawn_side();
    const bool by_hand = time_.chance(0.2);
    if (!time_.may(Fault::side_dies)) return;
    time_.struck(Fault::side_dies);
    if (by_hand) {
      service.sides().stopped_by_others(side);
    } else {
      service.sides().die(side);
    }
  });
  time_.every(20s, 200s, [this, &service] {
    const Side side = drawn_side();
    const Milliseconds time = time_.between(500ms, 120s);
    if (!time_.may(Fault::side_sick)) return;
    time_.struck(Fault::side_sick);
    service.sides().be_sick(side, time);
  });
  time_.every(100s, 1000s, [this, &service] {
    const Side side = drawn_side();
    const Milliseconds time = time_.between(5s, 300s);
    if (!time_.may(Fault::crash_loop)) return;
    time_.struck(Fault::crash_loop);
    service.sides().loop_crashing(side, time);
  });
}

void World::flush_by_others() {
  time_.tell("rules flushed by others");
  time_.struck(Fault::flushed);
  machine_.kernel.clear();
  machine_.router.foreign_change();
}

void World::fall_silent(Side side, Milliseconds time) {
  time_.tell("the supervisor of {} falls silent", dualdeploy::name_of(side));
  time_.struck(Fault::engine_silent);
  machine_.silent_until[side] = std::max(machine_.silent_until[side], time_.now() + time);
  for (const auto& service : services_) service->report(side);
}

void World::engine_restarts() {
  const bool containers_stay = time_.chance(0.5);  // live-restore
  time_.tell("the engine restarts{}", containers_stay ? "" : ", with its containers");
  time_.struck(Fault::engine_restarts);
  if (!containers_stay) {
    for (const auto& service : services_) service->sides().die(Side::container);
  }
  fall_silent(Side::container, time_.between(1s, 20s));
}

void World::set_clock() {
  const Milliseconds little = time_.between(-90s, 90s);
  const Milliseconds much = time_.between(-5h, 5h);
  const Milliseconds by = time_.chance(0.5) ? little : much;
  if (!time_.may(Fault::clock_jumps)) return;
  time_.struck(Fault::clock_jumps);
  time_.tell("the clock is set by {} ms", by.count());
  time_.set_wall_clock(by);
  machine_.router.clock_was_set();
}

void World::reboot(bool power_cut) {
  time_.tell("{}", power_cut ? "power cut" : "reboot");
  kill_agent(power_cut);
  ++machine_.boots;
  machine_.kernel.clear();
  machine_.router.machine_reboots();
  for (const auto& service : services_) service->sides().machine_boots();
}

void World::begin_quiet() {
  time_.be_quiet(20min);  // Longer than restarts rest.
  kills_to_come_ = 0;
  for (const Side side : both_sides) machine_.silent_until[side] = time_.now();
  for (const auto& service : services_) {
    service->sides().recover();
    for (const Side side : both_sides) service->report(side);
  }
}

}  // namespace dualdeploy::simulation
