#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "core/service.hpp"
#include "simulation/timeline.hpp"

namespace dualdeploy::simulation {

enum class Backend : std::uint8_t {
  nftables,  ///< A lease is the timeout of a map element.
  iptables,  ///< A lease is a window of wall-clock time.
};

/// A service as the kernel shall treat it: agent/traffic/rules.hpp without ports.
struct ServiceRules {
  Route planned;
  bool active = false;
  std::optional<Instant> until;
  std::optional<Instant> held_until;
};
inline constexpr Milliseconds lease{60'000};

/// What the kernel does with new connections: one table for all services, which lives as long as the machine is up.
class Kernel {
 public:
  Kernel(Timeline& time, Backend backend, std::size_t services) : time_(time), backend_(backend), entries_(services) {}

  // ---- What it does now ----
  [[nodiscard]] Route route(std::size_t service) const;
  [[nodiscard]] bool held(std::size_t service) const;
  [[nodiscard]] KernelRoute seen(std::size_t service) const;
  [[nodiscard]] bool has_table() const { return table_; }
  [[nodiscard]] std::optional<Instant> until(std::size_t service) const { return entries_[service].until; }
  [[nodiscard]] Backend backend() const { return backend_; }

  // ---- Transactions, each whole or not at all ----
  void write(std::size_t service, const ServiceRules& rules);
  void write_all(const std::vector<ServiceRules>& rules);
  /// The leases of active services, and what goes by the clock, anew.
  void renew(const std::vector<ServiceRules>& rules);
  [[nodiscard]] bool holds(const std::vector<ServiceRules>& rules) const;
  [[nodiscard]] bool holds(std::size_t service, const ServiceRules& rules) const;
  void clear();

 private:
  /// Something that ends by itself.
  struct Window {
    Instant end;
    std::int64_t first_second = 0;  ///< Of wall-clock time, both included.
    std::int64_t last_second = 0;
  };
  struct Entry {
    Route planned;
    std::optional<Window> redirect;
    std::optional<Window> hold;
    std::optional<Instant> until;
  };
  [[nodiscard]] std::optional<Window> window(Milliseconds left) const;
  [[nodiscard]] bool open(const std::optional<Window>& window) const;
  [[nodiscard]] Milliseconds left(const Window& window) const;
  [[nodiscard]] std::optional<Window> redirect_of(const ServiceRules& rules) const;
  [[nodiscard]] std::optional<Window> hold_of(const ServiceRules& rules) const;

  Timeline& time_;
  Backend backend_;
  bool table_ = false;
  std::vector<Entry> entries_;
};

}  // namespace dualdeploy::simulation
