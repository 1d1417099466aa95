#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "simulation/service_world.hpp"

namespace dualdeploy::simulation {

/// What design.md promises of one service, checked after every step and, whether an agent lives or not, against what the
/// kernel does.
class Promises {
 public:
  explicit Promises(const ServiceWorld& world);

  // ---- What happened ----
  void agent_starts(bool state_unreadable);
  void agent_leaves();
  void operator_acts();
  void policy_changes();
  void starts(Side side);
  void asks_for(const Route& route) { may_have_.push_back(route); }
  void has_got(const Route& route);
  void holds_front() { held_since_.reset(); }
  void lets_in();
  void proof_fails(const Route& route);
  void recorded(const Record& record);
  void answered(const Request& request, const action::Answer& answer);
  /// Right after step(): where it came from.
  void decided(const Event& event, const Route& effective_before, std::optional<RecordKind> change_before);

  // ---- What has to be so ----
  void after_step();
  void check_kernel();
  void check_end();

 private:
  /// Something bad may be so for a moment, and no longer.
  class Patience {
   public:
    explicit Patience(Milliseconds most) : most_(most) {}
    [[nodiscard]] bool lost(bool bad, Instant now) {
      if (!bad) since_.reset();
      if (bad && !since_) since_ = now;
      return since_ && now - *since_ > most_;
    }
    void reset() { since_.reset(); }

   private:
    Milliseconds most_;
    std::optional<Instant> since_;
  };

  void check_side();
  void check_failover();
  void check_handover();
  void check_holds_and_changes();
  void check_own_doings();
  void check_unconfirmed(const Route& route);
  void check_front_hold();
  void check_inherited_hold();
  void check_failed(const Request& request, const action::Answer& answer);
  void check_acknowledged(const Request& request);
  void violated(const std::string& promise) const;
  [[nodiscard]] bool kernel_in_trouble() const;
  /// On iptables: the clock was set back, and what ends by the clock ends so much later unless the agent renews it.
  [[nodiscard]] bool clock_excuses() const;
  [[nodiscard]] Instant now() const { return time_.now(); }
  [[nodiscard]] const ServiceState& state() const { return world_.state(); }

  const ServiceWorld& world_;
  Timeline& time_;
  PerSide<std::deque<Instant>> starts_;
  /// Routes that this service's own core has asked the kernel for, in order, from the one on that it has got last.
  std::vector<Route> may_have_;
  bool auto_reverted_ = false;
  bool unreadable_ = false;
  bool sick_rpm_chosen_ = false;  ///< By a revert.
  std::optional<Route> failed_proof_;
  std::optional<Instant> held_since_;
  std::optional<Instant> alive_since_;
  std::optional<Instant> found_held_at_;  ///< An agent has started, and an earlier one has left clients waiting...
  Instant found_held_until_;              ///< ...who are let in by the kernel then.
  std::optional<Side> handover_reached_;  ///< The side that got healthy in the last one.
  int moves_by_itself_ = 0;
  std::deque<Instant> handovers_by_itself_;
  Patience sick_{15s};
  Patience truly_sick_{40s};
  Patience failover_due_{20s};
  Patience no_way_back_{20s};
  Patience front_forgotten_{20s};
  Patience dead_agent_{67s};  ///< The lease, and the transaction that renews it and was under way.
};

}  // namespace dualdeploy::simulation
