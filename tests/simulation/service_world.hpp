#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/step.hpp"
#include "simulation/machine.hpp"
#include "simulation/mutation.hpp"
#include "simulation/sides.hpp"

namespace dualdeploy::simulation {

class Promises;

/// A request of an operator, and how things were when it was made.
struct Request {
  Command command;
  Instant at;
  bool held = false;
  Route saved;
  Route intended;
  Route effective;
  std::function<void(const action::Answer&)> answered;
};

/// One service with its decisions as they are in the product. What happens is fed to step(), what step() wants is carried out on
/// the machine: agent/daemon/service_runner.cpp, with chance in the place of the world.
class ServiceWorld {
 public:
  ServiceWorld(Machine& machine, std::size_t index);
  ~ServiceWorld();
  ServiceWorld(const ServiceWorld&) = delete;
  ServiceWorld& operator=(const ServiceWorld&) = delete;

  // ---- The agent's life ----
  /// The first decision; nothing is carried out before begin().
  void boot();
  void begin();
  void agent_died();
  void prepare_to_end() { happen(event::Stopping{}); }
  /// It was stopped and ends, with nothing left halfway.
  void agent_leaves();
  [[nodiscard]] bool begun() const { return begun_; }
  [[nodiscard]] ServiceRules rules() const;
  void request(const Command& command, std::function<void(const action::Answer&)> answered = {});
  void configure(const ServicePolicy& policy, const PerSide<bool>& side_changed);

  // ---- The world around it ----
  [[nodiscard]] Sides& sides() { return *sides_; }
  /// The supervisor looks at a side.
  void report(Side side);
  /// After anything that happened anywhere.
  void check_kernel();
  /// Faults have been over for long.
  void check_end();

  // ---- To be looked at ----
  [[nodiscard]] const Machine& machine() const { return machine_; }
  [[nodiscard]] std::size_t index() const { return index_; }
  [[nodiscard]] const ServiceState& state() const { return state_; }
  [[nodiscard]] const ServicePolicy& policy() const { return policy_; }
  [[nodiscard]] const Sides& sides() const { return *sides_; }
  [[nodiscard]] const std::map<RequestId, Request>& requests() const { return requests_; }
  [[nodiscard]] const std::optional<Durable>& saved() const { return machine_.disk.content(index_); }
  [[nodiscard]] Route kernel_route() const { return machine_.kernel.route(index_); }

 private:
  void happen(const Event& event);
  /// An answer; perhaps it comes once more.
  void reply(Milliseconds delay, const Event& event);
  void carry_out_all(const std::vector<Action>& actions);
  void count_state();
  void tell_state(const Event& event);
  void arm_wake();
  void watch(Side side);
  void probe(Side side, std::uint64_t generation);

  void carry_out(const action::Apply& apply);
  void carry_out(const action::Save& save);
  void carry_out(const action::Operate& operate);
  void carry_out(const action::RunHook& hook);
  void carry_out(const action::Prove& prove);
  void carry_out(const action::HoldFront& hold);
  void carry_out(const action::AwaitFree& await);
  void carry_out(const action::Answer& answer);
  void carry_out(const action::Note& note);
  void await_free(const action::AwaitFree& await, Instant until);
  void record(const Record& record);

  Machine& machine_;
  Timeline& time_;
  const std::size_t index_;
  ServicePolicy policy_;
  std::unique_ptr<Sides> sides_;
  Mutation mutation_;
  std::unique_ptr<Promises> promises_;

  ServiceState state_;
  bool begun_ = false;
  std::vector<Action> waiting_;  ///< For begin().
  std::optional<Durable> half_written_;
  PerSide<Workload> last_seen_;
  PerSide<std::uint64_t> generation_;
  std::uint64_t wake_ = 0;
  std::optional<Instant> wake_at_;
  RequestId last_request_ = 0;
  std::map<RequestId, Request> requests_;
  std::string last_told_;
};

}  // namespace dualdeploy::simulation
