#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "core/service.hpp"
#include "simulation/timeline.hpp"

namespace dualdeploy::simulation {

/// A service's two deployments as they really are: processes that live and die, and who has the front port. With the strategy
/// redirect each has a port of its own; with handover there is one port, and who comes second does not get it.
class Sides {
 public:
  /// `changed`: there is something for the supervisor to report.
  Sides(Timeline& time, const ServicePolicy& policy, std::function<void(Side)> changed);

  // ---- What others do to them ----
  void machine_boots();
  void die(Side side);
  void stopped_by_others(Side side);
  void be_sick(Side side, Milliseconds time);
  void loop_crashing(Side side, Milliseconds time);
  void reconfigure_container() { ++configuration_; }
  /// Faults are over.
  void recover();

  // ---- What the agent has done to them ----
  void start(Side side);
  void stop(Side side);

  // ---- What can be seen ----
  [[nodiscard]] Workload workload(Side side) const;
  [[nodiscard]] bool running(Side side) const { return processes_[side].running; }
  /// A check of this side passes: of its port, whoever has it.
  [[nodiscard]] bool check_passes(Side side) const;
  /// It runs, has its port and is well.
  [[nodiscard]] bool serves(Side side) const;
  [[nodiscard]] bool sick(Side side) const { return time_.now() < sick_until_[side]; }
  [[nodiscard]] bool front_free() const;
  /// Whose process listens on the front port.
  [[nodiscard]] std::optional<Side> front_holder() const;

 private:
  struct Process {
    bool running = false;
    std::int64_t pid = 0;
    Instant answers_from;
    bool on_front = false;  ///< Its port is the front port.
    bool has_port = false;
    int configuration = 0;
    RunState end = RunState::stopped;
    std::uint64_t generation = 0;  ///< Of what is still to happen to it.
  };
  void end(Side side, RunState how);
  void unit_restarts();

  Timeline& time_;
  const ServicePolicy& policy_;
  std::function<void(Side)> changed_;
  PerSide<Process> processes_;
  PerSide<Instant> sick_until_;
  PerSide<Instant> crashing_until_;
  Instant lingering_until_;  ///< Somebody whom a stopped side left behind has the front port until then.
  std::int64_t pids_ = 1000;
  int configuration_ = 0;
  int unit_deaths_ = 0;  ///< Soon after each other: systemd gives up.
  Instant unit_died_at_;
};

}  // namespace dualdeploy::simulation
