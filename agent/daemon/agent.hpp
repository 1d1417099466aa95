#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <list>
#include <map>
#include <memory>

#include "config/config.hpp"
#include "control/api.hpp"
#include "daemon/service_runner.hpp"

namespace dualdeploy::daemon {

/// All services together, and what the control socket can ask of them.
class Agent final : public control::Api {
 public:
  /// `traffic_trouble`: why no kernel backend is usable, if so; the agent then watches and reports, and refuses flips.
  Agent(boost::asio::any_io_executor executor, config::Config config, std::unique_ptr<traffic::Backend> backend);
  ~Agent() override;

  /// Finds out what was and what is, and takes the services over, without touching traffic that is where it shall be.
  [[nodiscard]] boost::asio::awaitable<void> take_over();

  /// Goes over to another configuration. Services that left it go back to the RPM first.
  [[nodiscard]] boost::asio::awaitable<Expected<std::string>> reconfigure(config::Config config);

  /// Called whenever something changed; also when every service is settled for the first time.
  void on_change(std::function<void()> listener) { on_change_ = std::move(listener); }
  [[nodiscard]] bool settled() const;
  /// One line for `systemctl status`.
  [[nodiscard]] std::string summary() const;

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
  std::string kernel_trouble_;  ///< Why our rules are not in the kernel, if so.
  std::string lease_trouble_;
  std::string last_drift_;
  /// Who follows the events. Weak: the handle given out keeps the entry alive.
  using Listener = std::function<void(const boost::json::object&)>;
  std::list<std::weak_ptr<Listener>> listeners_;
};

}  // namespace dualdeploy::daemon
