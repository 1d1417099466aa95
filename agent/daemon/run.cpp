#include "daemon/run.hpp"

#include <spdlog/spdlog.h>
#include <sysexits.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <utility>

#include "control/health_listener.hpp"
#include "control/server.hpp"
#include "daemon/agent.hpp"
#include "daemon/version.hpp"
#include "host/logging.hpp"
#include "host/notify.hpp"
#include "host/spawn.hpp"
#include "instance/notices.hpp"
#include "traffic/choose_backend.hpp"

namespace dualdeploy::daemon {
namespace {

namespace asio = boost::asio;

/// Tells systemd how things are, whenever they change. Once ready, for a moment's changes together: a summary looks at every
/// service, and each of many has some changes a second.
class Announcer {
 public:
  Announcer(const asio::any_io_executor& executor, Agent& agent) : agent_(agent), timer_(executor) {}
  void announce() {
    if (!ready_) {
      tell();
    } else if (!std::exchange(waiting_, true)) {
      timer_.expires_after(moment);
      timer_.async_wait([this](const boost::system::error_code& error) {
        waiting_ = false;
        if (!error) tell();
      });
    }
  }

 private:
  static constexpr Milliseconds moment{100};

  void tell() {
    const std::string summary = agent_.summary();
    if (summary != last_) host::notify_status(last_ = summary);
    if (ready_ || !agent_.settled()) return;
    ready_ = true;
    spdlog::info("ready: {}", summary);
    host::notify_ready();
  }

  Agent& agent_;
  asio::steady_timer timer_;
  std::string last_;
  bool ready_ = false;
  bool waiting_ = false;
};

asio::awaitable<void> reload(Agent& agent, std::filesystem::path config_file) {
  host::notify_reloading();
  auto loaded = config::load(config_file);
  if (!loaded) {
    for (const config::Problem& problem : loaded.error()) spdlog::error("{}", config::describe(problem));
    agent.note({.kind = RecordKind::config,
                .message = "the new configuration has " + std::to_string(loaded.error().size()) +
                           " problem(s), the old one stays: " + config::describe(loaded.error().front()),
                .result = Result::failed});
  } else {
    auto done = co_await agent.reconfigure(std::move(*loaded));
    agent.note({.kind = RecordKind::config,
                .message = done ? "reloaded: " + *done : "reloaded, but: " + done.error().message,
                .result = done ? Result::done : Result::failed});
  }
  host::notify_ready();
}

asio::awaitable<void> take_over_and_listen(Agent& agent, control::Server& server, std::filesystem::path control_socket,
                                           Announcer& announcer, std::function<void()> afterwards, int& status) {
  co_await agent.take_over();
  afterwards();
  const std::vector<int> passed = host::passed_sockets();
  if (passed.empty()) {
    if (auto listening = server.listen(control_socket); !listening) {
      spdlog::error("no control socket: {}", listening.error().message);
      status = EXIT_FAILURE;
    }
  }
  for (const int socket : passed) server.adopt(socket);
  announcer.announce();
}

/// Less than TimeoutStopSec= in dualdeployd.service.
constexpr Milliseconds longest_goodbye{25'000};

/// SIGHUP reloads, SIGTERM and SIGINT end. One reload after the other: `busy` is the reload that runs.
class Signals {
 public:
  Signals(asio::io_context& loop, Agent& agent, std::filesystem::path config_file, std::function<void()> end)
      : loop_(loop), agent_(agent), config_file_(std::move(config_file)), end_(std::move(end)),
        signals_(loop, SIGHUP, SIGTERM, SIGINT) {
    wait();
  }

 private:
  void wait() {
    signals_.async_wait([this](const boost::system::error_code& error, int signal) {
      if (error) return;
      if (signal != SIGHUP) {
        end_();
        return;
      }
      if (reloading_) {
        again_ = true;
      } else {
        start_reload();
      }
      wait();
    });
  }

  void start_reload() {
    reloading_ = true;
    asio::co_spawn(loop_, reload(agent_, config_file_), [this](const std::exception_ptr& error) {
      reloading_ = false;
      if (error) spdlog::error("the reload failed");
      if (std::exchange(again_, false)) start_reload();
    });
  }

  asio::io_context& loop_;
  Agent& agent_;
  std::filesystem::path config_file_;
  std::function<void()> end_;
  asio::signal_set signals_;
  bool reloading_ = false;
  bool again_ = false;
};

/// Whose state is it? Asked before it is read, and before anything else goes on.
instance::Identity identify(asio::io_context& loop, const std::shared_ptr<instance::Metadata>& metadata, const config::Agent& settings) {
  if (!metadata) return {};
  std::optional<instance::Identity> identity;
  asio::co_spawn(loop, instance::identify(loop.get_executor(), metadata, settings.metadata, settings.state_directory),
                 [&](const std::exception_ptr& error, instance::Identity found) {
                   if (error) std::rethrow_exception(error);
                   identity = std::move(found);
                 });
  while (!identity) loop.run_one();
  return std::move(*identity);
}

}  // namespace

int run(const std::filesystem::path& config_file, const std::filesystem::path& control_socket) {
  host::start_logging("info");
  auto loaded = config::load(config_file);
  if (!loaded) {
    for (const config::Problem& problem : loaded.error()) spdlog::error("{}", config::describe(problem));
    spdlog::error("the configuration cannot be used; nothing was changed. Try: dualctl check-config {}", config_file.string());
    return EX_CONFIG;
  }
  host::set_log_level(loaded->agent.log_level);
  spdlog::info("dualdeployd {} ({}), {} service(s) from {}", version_text, revision_text, loaded->services.size(),
               config_file.string());
  const control::Access access{loaded->agent.change_group, loaded->agent.view_group};

  asio::io_context loop(1);
  auto backend = traffic::choose_backend(loop.get_executor(), loaded->agent.backend);
  const host::Watchdog watchdog(loop.get_executor());
  const config::Agent settings = loaded->agent;
  const auto metadata = instance::on_ec2(settings.metadata)
                            ? std::make_shared<instance::Metadata>(
                                  loop.get_executor(), instance::Metadata::Settings{settings.metadata.endpoint, settings.metadata.timeout})
                            : nullptr;
  instance::Identity identity = identify(loop, metadata, settings);
  const bool identified = !identity.id.empty();
  Agent agent(loop.get_executor(), std::move(*loaded), std::move(backend), std::move(identity), metadata != nullptr);
  Announcer announcer(loop.get_executor(), agent);
  agent.on_change([&announcer] { announcer.announce(); });
  control::Server server(loop.get_executor(), agent, control::Limits{}, access);
  control::HealthListener health(loop.get_executor(), [&agent](std::string service) { return agent.front_health(std::move(service)); },
                                 control::HealthListener::Limits{});
  if (settings.health.listen != "off") {
    health.keep_trying(settings.health.listen, [&agent](const std::optional<Error>& trouble) { agent.listener_trouble(trouble); });
  }
  std::optional<instance::Notices> notices;
  // Not before the agent has taken over what it found: what is said late of the instance concerns that.
  const auto follow_notices = [&] {
    if (!metadata) return;
    notices.emplace(loop.get_executor(), metadata, settings.metadata.poll, identified,
                    instance::Notices::Watcher{[&agent](const std::optional<std::string>& why) { agent.noticed(why); },
                                               [&agent](const std::string& id) { agent.identified(id); },
                                               [&agent](const std::optional<std::string>& trouble) { agent.metadata_trouble(trouble); }});
  };
  const auto end = [&] {
    // Rules and routes stay: the kernel goes on, and the lease ends them if nobody comes back.
    spdlog::info("stopping; traffic is not touched");
    server.stop();
    loop.stop();
  };
  asio::steady_timer patience(loop);
  const auto end_unless_halfway = [&] {
    if (agent.halfway().empty()) end();
  };
  const Signals signals(loop, agent, config_file, [&] {
    host::notify_stopping();
    agent.prepare_to_end();
    if (agent.halfway().empty()) return end();
    spdlog::info("stopping as soon as the handover of {} is over: neither side may serve now", agent.halfway());
    // Not at once: whoever waits for the outcome is told first.
    agent.on_change([&] { asio::post(loop, end_unless_halfway); });
    patience.expires_after(longest_goodbye);
    patience.async_wait([&](const boost::system::error_code& error) {
      if (error) return;
      spdlog::error("the handover of {} takes too long; the next start of the agent goes on with it", agent.halfway());
      end();
    });
  });

  int status = EXIT_SUCCESS;
  host::spawn(loop.get_executor(), "start", take_over_and_listen(agent, server, control_socket, announcer, follow_notices, status));
  loop.run();
  agent.flush();
  return status;
}

}  // namespace dualdeploy::daemon
