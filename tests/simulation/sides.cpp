#include "simulation/sides.hpp"

#include <utility>

namespace dualdeploy::simulation {

namespace {
/// StartLimitBurst= and StartLimitIntervalSec= of systemd.
constexpr int start_limit = 5;
constexpr Milliseconds start_limit_interval{10'000};
}  // namespace

Sides::Sides(Timeline& time, const ServicePolicy& policy, std::function<void(Side)> changed)
    : time_(time), policy_(policy), changed_(std::move(changed)) {
  start(Side::rpm);
}

void Sides::machine_boots() {
  for (const Side side : both_sides) end(side, RunState::stopped);
  lingering_until_ = time_.now();
  unit_deaths_ = 0;
  start(Side::rpm);  // Its unit is enabled; the container has nobody but the agent.
}

void Sides::start(Side side) {
  Process& process = processes_[side];
  if (process.running) return;
  const bool on_front = side == Side::rpm || policy_.strategy == Strategy::handover;
  const bool has_port = !on_front || front_free();
  const std::uint64_t generation = process.generation + 1;
  const Instant answers_from = time_.now() + time_.between(0ms, 1500ms);
  process = Process{true, ++pids_, answers_from, on_front, has_port, configuration_, RunState::stopped, generation};
  time_.tell("{}: {} runs{}", policy_.name, dualdeploy::name_of(side), has_port ? "" : ", but its port is taken");
  const bool crashes = time_.now() < crashing_until_[side];
  if (has_port && !crashes) return;
  time_.later(time_.between(20ms, 800ms), Timeline::world, [this, side, generation] {
    if (processes_[side].generation == generation) die(side);
  });
}

void Sides::end(Side side, RunState how) {
  Process& process = processes_[side];
  const bool had_front = process.running && process.on_front && process.has_port;
  if (process.running) time_.tell("{}: {} is down", policy_.name, dualdeploy::name_of(side));
  process = Process{.end = how, .generation = process.generation + 1};
  if (had_front && time_.happens(Fault::port_stays_taken, 0.05)) lingering_until_ = time_.now() + time_.between(100ms, 15s);
}

void Sides::stop(Side side) { end(side, RunState::stopped); }

void Sides::die(Side side) {
  if (!processes_[side].running) return;
  end(side, RunState::failed);
  if (side == Side::rpm) unit_restarts();
  changed_(side);
}

/// Restart=always, until the limit. That the process has ended is known at once; then systemd calls the unit `activating`
/// (auto-restart) until it starts it.
void Sides::unit_restarts() {
  unit_deaths_ = time_.now() - unit_died_at_ < start_limit_interval ? unit_deaths_ + 1 : 1;
  unit_died_at_ = time_.now();
  if (unit_deaths_ >= start_limit) return;
  const std::uint64_t generation = processes_[Side::rpm].generation;
  const auto later = [this, generation](Milliseconds delay, std::function<void()> what) {
    time_.later(delay, Timeline::world, [this, generation, what = std::move(what)] {
      if (processes_[Side::rpm].generation != generation) return;  // Stopped or started meanwhile.
      what();
      changed_(Side::rpm);
    });
  };
  later(time_.between(1ms, 20ms), [this] { processes_[Side::rpm].end = RunState::starting; });
  later(time_.between(100ms, 2s), [this] { start(Side::rpm); });
}

void Sides::stopped_by_others(Side side) {
  if (!processes_[side].running) return;
  end(side, RunState::stopped);
  changed_(side);
}

void Sides::be_sick(Side side, Milliseconds time) {
  sick_until_[side] = time_.now() + time;
  time_.tell("{}: {} is sick", policy_.name, dualdeploy::name_of(side));
}

void Sides::loop_crashing(Side side, Milliseconds time) {
  crashing_until_[side] = time_.now() + time;
  time_.tell("{}: {} crashes after each start", policy_.name, dualdeploy::name_of(side));
  die(side);
}

void Sides::recover() {
  for (const Side side : both_sides) sick_until_[side] = crashing_until_[side] = time_.now();
  lingering_until_ = time_.now();
}

std::optional<Side> Sides::front_holder() const {
  for (const Side side : both_sides) {
    const Process& process = processes_[side];
    if (process.running && process.on_front && process.has_port) return side;
  }
  return std::nullopt;
}

bool Sides::front_free() const { return !front_holder() && time_.now() >= lingering_until_; }

bool Sides::serves(Side side) const {
  const Process& process = processes_[side];
  return process.running && process.has_port && !sick(side) && time_.now() >= process.answers_from;
}

bool Sides::check_passes(Side side) const {
  const bool of_front = side == Side::rpm || policy_.strategy == Strategy::handover;
  if (!of_front) return !processes_[side].on_front && serves(side);
  const std::optional<Side> holder = front_holder();
  return holder && serves(*holder);
}

Workload Sides::workload(Side side) const {
  const Process& process = processes_[side];
  const RunState state = process.running ? RunState::running : process.end;
  Workload workload{.state = state, .pid = process.pid, .revision = "r1", .artifact = "sha256:1"};
  workload.outdated = side == Side::container && process.running && process.configuration != configuration_;
  return workload;
}

}  // namespace dualdeploy::simulation
