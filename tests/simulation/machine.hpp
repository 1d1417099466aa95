#pragma once

#include <fmt/format.h>

#include <functional>
#include <string>

#include "simulation/disk.hpp"
#include "simulation/router.hpp"

namespace dualdeploy::simulation {

/// What all services on one machine share.
struct Machine {
  Machine(Timeline& timeline, Backend backend, std::size_t service_count)
      : time(timeline), services(service_count), kernel(timeline, backend, service_count), router(timeline, kernel),
        disk(timeline, service_count) {}

  [[nodiscard]] std::string boot_id() const { return fmt::format("boot-{}", boots); }
  /// Whether the supervisor of these sides, systemd or the engine, does not answer now.
  [[nodiscard]] bool silent(Side side) const { return time.now() < silent_until[side]; }

  Timeline& time;
  std::size_t services;
  Kernel kernel;
  Router router;
  Disk disk;
  int boots = 1;
  Instant died_at;  ///< The agent, the last time.
  PerSide<Instant> silent_until;
  std::function<void()> kill_agent;
  std::function<void()> cut_power;
};

}  // namespace dualdeploy::simulation
