#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "core/step.hpp"
#include "simulation/scenario.hpp"

namespace dualdeploy::simulation {

/// Breaks one service's core from outside: what it is told, what it believes, what it wants done.
class Mutation {
 public:
  explicit Mutation(Mutant mutant) : mutant_(mutant) {}

  /// The event as the broken core takes it; nothing if it takes no notice. `half_written`: of a torn state file.
  [[nodiscard]] std::optional<Event> told(const Event& event, const ServiceState& state, Instant now,
                                          const std::optional<Durable>& half_written) const;
  void before_step(ServiceState& state, const Event& event);
  void after_step(ServiceState& state, std::vector<Action>& actions, Instant now);

  [[nodiscard]] bool saves_at_once() const { return mutant_ == Mutant::answers_before_durable; }
  /// Whose route is changed instead of the service's own.
  [[nodiscard]] std::size_t victim(std::size_t service, std::size_t services) const {
    return mutant_ == Mutant::touches_another_service ? (service + 1) % services : service;
  }

 private:
  void change_wishes(const ServiceState& state, std::vector<Action>& actions);

  Mutant mutant_;
  std::optional<Hold> hidden_hold_;
  std::optional<Change> hidden_change_;
  bool auto_reverted_ = false;
};

}  // namespace dualdeploy::simulation
