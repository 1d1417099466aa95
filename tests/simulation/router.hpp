#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "core/error.hpp"
#include "simulation/kernel.hpp"

namespace dualdeploy::simulation {

/// The agent's way to the kernel, as agent/traffic/router.cpp goes it: one transaction after the other for all services, of
/// which each is written alone or, if that fails, with all others; leases renewed; drift repaired. An answer always comes:
/// the program that commits has a deadline. One that passes after the kernel has committed is a reply that was lost.
class Router {
 public:
  using Done = std::function<void(std::optional<Error>)>;

  Router(Timeline& time, Kernel& kernel) : time_(time), kernel_(kernel) {}

  /// Of a new agent: knows nothing yet.
  void begin();
  /// Writes everything. Services that are known already keep what was carried out last.
  void establish(std::vector<ServiceRules> rules, Done done);
  void set_route(std::size_t service, const Route& route, std::optional<Instant> until, Done done);
  void hold(std::size_t service, std::optional<Instant> until, Done done);
  /// All rules gone, until something is written again.
  void stand_down(Done done);

  void machine_reboots() { ++boots_; }
  void foreign_change();
  void clock_was_set();

  /// When a transaction last failed or seemed to.
  [[nodiscard]] Instant trouble_at() const { return trouble_at_; }

 private:
  struct Transaction {
    bool refused = false;
    bool lost = false;
    bool whole = false;  ///< Only the second try works, in which everything is written.
    Milliseconds takes{0};
  };
  [[nodiscard]] Transaction draw();
  void in_turn(const Transaction& transaction, std::function<void()> commit, std::function<void()> after);
  using Alter = std::function<void(ServiceRules&)>;
  /// What leads home stays wanted though it failed: the lease of the old redirect must not be renewed.
  void change(std::size_t service, const Alter& alter, bool way_home, Done done);
  void keep_leases(bool failing);
  void keep_checking();
  void check();
  [[nodiscard]] bool at_a_deadline() const;

  Timeline& time_;
  Kernel& kernel_;
  std::vector<ServiceRules> rules_;  ///< Empty until established.
  bool established_ = false;
  bool keeping_ = false;
  bool doubtful_ = false;  ///< A transaction failed: the kernel may hold something else than `rules_`.
  Instant busy_until_;
  int boots_ = 0;
  Instant trouble_at_;
};

}  // namespace dualdeploy::simulation
