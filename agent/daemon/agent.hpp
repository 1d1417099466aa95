#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <list>
#include <map>
#include <memory>

#include "config/config.hpp"
#include "control/api.hpp"
#include "control/health_listener.hpp"
#include "daemon/leaving.hpp"
#include "daemon/service_runner.hpp"
#include "instance/identity.hpp"
#include "state/manifest.hpp"

namespace dualdeploy::daemon {

/// How many connections clients have open to each side of each service.
using ConnectionsByService = std::map<std::string, PerSide<std::size_t>, std::less<>>;

/// All services together, and what the control socket can ask of them.
class Agent final : public control::Api {
 public:
  /// `metadata_used`: whether there is a metadata service to ask which instance this is.
  Agent(boost::asio::any_io_executor executor, config::Config config, std::unique_ptr<traffic::Backend> backend,
        instance::Identity identity, bool metadata_used);
  ~Agent() override;

  /// Finds out what was and what is, and takes the services over, without touching traffic that is where it shall be.
  [[nodiscard]] boost::asio::awaitable<void> take_over();

  /// Goes over to another configuration. Services that left it go back to the RPM first.
  [[nodiscard]] boost::asio::awaitable<Expected<std::string>> reconfigure(config::Config config);

  /// Called whenever something changed; also when every service is settled for the first time.
  void on_change(std::function<void()> listener) { on_change_ = std::move(listener); }
  [[nodiscard]] bool settled() const;
  /// Brings what is under way to an end soon, and begins nothing new.
  void prepare_to_end();
  /// The services for which this is no moment to end (core/step.hpp); empty if there are none.
  [[nodiscard]] std::string halfway() const;
  /// One line for `systemctl status`.
  [[nodiscard]] std::string summary() const;

  /// What a load balancer is told of the service; "" for all.
  [[nodiscard]] boost::asio::awaitable<control::FrontHealth> front_health(std::string service);
  // What EC2 says of this instance.
  void noticed(const std::optional<std::string>& why_to_leave);
  void identified(const std::string& id);
  void metadata_trouble(const std::optional<std::string>& trouble);
  void listener_trouble(const std::optional<Error>& error);

  /// A record of the agent itself.
  void note(Record record);
  /// Waits for the disk.
  void flush();

  // control::Api
  [[nodiscard]] boost::asio::awaitable<boost::json::value> status(std::optional<std::string> service) const override;
  [[nodiscard]] boost::asio::awaitable<Expected<control::ChangeResult>> drain(
      std::string service, std::optional<Milliseconds> wait) const override;
  [[nodiscard]] bool has_service(std::string_view name) const override;
  [[nodiscard]] std::vector<std::string> service_names() const override;
  [[nodiscard]] Expected<std::vector<boost::json::object>> history(std::optional<std::string> service, std::size_t limit,
                                                                   bool changes_only) const override;
  [[nodiscard]] std::shared_ptr<void> subscribe(std::function<void(const boost::json::object&)> listener) override;
  [[nodiscard]] boost::asio::awaitable<Expected<control::ChangeResult>> flip(control::FlipRequest request,
                                                                             Actor actor) override;
  [[nodiscard]] boost::asio::awaitable<Expected<control::ChangeResult>> dry_run(control::FlipRequest request) override;
  [[nodiscard]] boost::asio::awaitable<Expected<control::ChangeResult>> confirm(std::string service, std::string reason,
                                                                                Actor actor) override;
  [[nodiscard]] boost::asio::awaitable<Expected<control::ChangeResult>> revert(std::string service, std::string reason,
                                                                               Actor actor) override;
  [[nodiscard]] boost::asio::awaitable<Expected<control::ChangeResult>> hold(std::string service, std::string reason,
                                                                             Actor actor) override;
  [[nodiscard]] boost::asio::awaitable<Expected<control::ChangeResult>> release(std::string service, std::string reason,
                                                                                Actor actor) override;
  [[nodiscard]] boost::asio::awaitable<Expected<control::ChangeResult>> leave(control::LeaveRequest request,
                                                                              Actor actor) override;
  [[nodiscard]] boost::asio::awaitable<Expected<control::ChangeResult>> join(std::string reason, Actor actor) override;
  [[nodiscard]] boost::asio::awaitable<Expected<control::ChangeResult>> rescue(std::string reason, Actor actor) override;
  [[nodiscard]] boost::json::object version() const override;

 private:
  [[nodiscard]] traffic::Rules rules() const;
  [[nodiscard]] std::shared_ptr<ServiceRunner> runner(const std::string& service) const;
  [[nodiscard]] static boost::asio::awaitable<void> send_home(std::shared_ptr<ServiceRunner> runner, std::string reason);
  void warn_of(const config::Service& service) const;
  std::shared_ptr<ServiceRunner> add_service(const config::Service& service);
  [[nodiscard]] boost::asio::awaitable<Expected<void>> establish();
  void retry_establish();
  [[nodiscard]] state::Store::Loaded load(const std::string& service);
  void tell_of_identity();
  void read_manifest();
  /// What is not as an image build recorded it.
  [[nodiscard]] std::vector<std::string> unlike_sealed() const;
  [[nodiscard]] boost::json::object instance_status() const;
  [[nodiscard]] boost::asio::awaitable<Expected<ConnectionsByService>> connections() const;
  [[nodiscard]] boost::asio::awaitable<std::string> connections_left() const;
  [[nodiscard]] boost::asio::awaitable<void> own_the_state(std::string id);
  [[nodiscard]] boost::asio::awaitable<control::FrontHealth> look_at_front(std::string service, bool leaving) const;
  void go_to_initial_routes();
  [[nodiscard]] static boost::asio::awaitable<void> go_to_initial_route(std::shared_ptr<ServiceRunner> runner, Route route);
  void publish(const state::StampedRecord& record);
  void drifted(const traffic::Router::Drift& drift);
  void lease_trouble(const std::optional<Error>& error);
  void changed();
  [[nodiscard]] boost::asio::awaitable<Expected<control::ChangeResult>> ask(std::string service, Command command,
                                                                            std::string reason, Actor actor);

  boost::asio::any_io_executor executor_;
  config::Config config_;
  state::Store store_;
  traffic::Router router_;
  std::shared_ptr<const Surroundings> surroundings_;
  std::map<std::string, std::shared_ptr<ServiceRunner>, std::less<>> runners_;
  std::function<void()> on_change_;
  boost::asio::steady_timer retry_timer_;
  instance::Identity identity_;
  bool metadata_used_;
  std::optional<state::Manifest> manifest_;
  Leaving leaving_;
  /// The last answer of each front, for a moment: many load balancer nodes ask, and each look costs a request.
  struct Front {
    explicit Front(const boost::asio::any_io_executor& executor) : done(executor, boost::asio::steady_timer::time_point::max()) {}
    Instant at;
    control::FrontHealth health;
    bool leaving = false;
    bool asking = false;
    boost::asio::steady_timer done;  ///< Cancelled when it is no longer being asked.
  };
  std::map<std::string, std::shared_ptr<Front>, std::less<>> fronts_;
  std::map<std::string, Route> initial_routes_;  ///< Asked for by tag or user data, and not gone to yet.
  bool taken_over_ = false;
  std::string listener_trouble_;
  std::string kernel_trouble_;  ///< Why our rules are not in the kernel, if so.
  std::string lease_trouble_;
  std::string last_drift_;
  /// Who follows the events. Weak: the handle given out keeps the entry alive.
  using Listener = std::function<void(const boost::json::object&)>;
  std::list<std::weak_ptr<Listener>> listeners_;
};

}  // namespace dualdeploy::daemon
