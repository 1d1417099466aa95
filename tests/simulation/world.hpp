#pragma once

#include <memory>
#include <vector>

#include "simulation/service_world.hpp"

namespace dualdeploy::simulation {

/// A machine with some services, their operators, and everything that goes wrong by itself.
class World {
 public:
  explicit World(const Scenario& scenario);
  Outcome run();

 private:
  // ---- The agent's life: agent/daemon/agent.cpp ----
  void start_agent();
  void take_over();
  [[nodiscard]] std::vector<ServiceRules> rules() const;
  void establish_later();
  void kill_agent(bool power_cut = false);
  void stop_agent();
  void end_agent(Instant at_the_latest);
  void reload();
  void change_strategy(ServiceWorld& service, const ServicePolicy& policy);
  void rescue(std::size_t next, int rounds_left);

  // ---- Operators ----
  void act();
  void confirm_later(ServiceWorld& service, Milliseconds after);
  [[nodiscard]] FlipCommand drawn_flip(const ServiceWorld& service);

  // ---- What goes wrong by itself ----
  void schedule_faults();
  void schedule_faults_of(ServiceWorld& service);
  [[nodiscard]] Side drawn_side() { return time_.chance(0.65) ? Side::container : Side::rpm; }
  void flush_by_others();
  void fall_silent(Side side, Milliseconds time);
  void engine_restarts();
  void set_clock();
  void reboot(bool power_cut);
  void begin_quiet();

  [[nodiscard]] ServiceWorld& any_service() { return *services_[time_.one_of(services_.size())]; }

  Timeline time_;
  Machine machine_;
  std::vector<std::unique_ptr<ServiceWorld>> services_;
  int acts_ = 0;
  int kills_to_come_ = 0;  ///< Of a loop.
  bool rescuing_ = false;
};

}  // namespace dualdeploy::simulation
