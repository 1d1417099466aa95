#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "config/config.hpp"
#include "core/step.hpp"
#include "daemon/drain.hpp"
#include "health/checker.hpp"
#include "state/store.hpp"
#include "traffic/router.hpp"
#include "workload/systemd.hpp"
#include "workload/engine_client.hpp"
#include "workload/workload_side.hpp"

namespace dualdeploy::daemon {

/// What all services share.
struct Surroundings {
  boost::asio::any_io_executor executor;
  traffic::Router& router;
  state::Store& store;
  std::shared_ptr<workload::Systemd> systemd;
  std::shared_ptr<workload::EngineClient> engine;
  health::ProbeIdentity identity;
  std::function<void(const state::StampedRecord&)> on_record;
  std::function<void()> on_change;  ///< After every step.
};

/// One service in the world: feeds what happens to step() and carries out what it decides.
class ServiceRunner : public std::enable_shared_from_this<ServiceRunner> {
 public:
  ServiceRunner(std::shared_ptr<const Surroundings> surroundings, config::Service service);
  ~ServiceRunner();
  ServiceRunner(const ServiceRunner&) = delete;
  ServiceRunner& operator=(const ServiceRunner&) = delete;

  /// The first decision: what was saved against what the kernel holds. Nothing is carried out before begin().
  void boot(const state::Store::Loaded& saved, const KernelRoute& kernel);
  /// Carries out what boot() decided and watches both sides from now on.
  void begin();
  /// A reload brought another configuration of the same service.
  void configure(config::Service service);
  /// Stops watching; nothing is carried out any more.
  void end();

  /// Looks again at what is installed, for the decision on a flip.
  [[nodiscard]] boost::asio::awaitable<void> refresh();
  /// Completes with the decision's answer.
  [[nodiscard]] boost::asio::awaitable<action::Answer> request(Command command, Actor actor, std::string reason);

  /// Stops the container side, for a service that is leaving the configuration.
  [[nodiscard]] boost::asio::awaitable<Expected<void>> stop_container();
  /// The agent ends soon.
  void prepare_to_end() { happen(event::Stopping{}); }

  /// Connections that clients have open to each side now.
  [[nodiscard]] boost::asio::awaitable<Expected<PerSide<std::size_t>>> connections() const;
  [[nodiscard]] const std::optional<Drain::Progress>& draining() const { return drain_->progress(); }

  [[nodiscard]] const ServiceState& state() const { return state_; }
  [[nodiscard]] const config::Service& service() const { return service_; }
  /// As the kernel shall treat the service now.
  [[nodiscard]] traffic::ServiceRules rules() const;

 private:
  class Pending;

  void happen(Event event);
  void drain();
  void watch_sides();
  void watch_side(Side side);
  void arm_wake();
  void follow_drain();

  void carry_out(const action::Apply& apply);
  void carry_out(const action::Save& save);
  void carry_out(const action::Operate& operate);
  void carry_out(const action::RunHook& hook);
  void carry_out(const action::Prove& prove);
  void carry_out(const action::HoldFront& hold);
  void carry_out(const action::AwaitFree& await);
  void carry_out(const action::Answer& answer);
  void carry_out(const action::Note& note);
  static boost::asio::awaitable<void> apply(std::shared_ptr<ServiceRunner> self, action::Apply apply);
  static boost::asio::awaitable<void> prove(std::shared_ptr<ServiceRunner> self, action::Prove wanted);
  static boost::asio::awaitable<void> hold_front(std::shared_ptr<ServiceRunner> self, action::HoldFront wanted);
  static boost::asio::awaitable<void> await_free(std::shared_ptr<ServiceRunner> self, action::AwaitFree wanted);
  static boost::asio::awaitable<void> hook(std::shared_ptr<ServiceRunner> self, action::RunHook hook);
  static boost::asio::awaitable<void> operate(std::shared_ptr<ServiceRunner> self, action::Operate operate);
  void record(const Record& record);

  std::shared_ptr<const Surroundings> surroundings_;
  config::Service service_;
  ServiceState state_;
  bool begun_ = false;
  bool ended_ = false;
  bool draining_ = false;
  std::deque<Event> events_;
  std::deque<Action> actions_;
  PerSide<std::shared_ptr<workload::WorkloadSide>> sides_;
  PerSide<std::unique_ptr<health::Checker>> checkers_;
  PerSide<std::uint64_t> generation_;  ///< Reports of a side that was replaced by a reload are dropped.
  std::shared_ptr<Drain> drain_;
  Route drained_from_;  ///< The route that the drain knows of.
  boost::asio::steady_timer wake_;
  RequestId last_request_ = 0;
  std::map<RequestId, std::shared_ptr<Pending>> pending_;
};

}  // namespace dualdeploy::daemon
