#include "daemon/agent.hpp"

#include <grp.h>
#include <spdlog/spdlog.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json.hpp>

#include "core/guards.hpp"
#include "daemon/front_check.hpp"
#include "daemon/status.hpp"
#include "daemon/version.hpp"
#include "host/clock.hpp"
#include "host/crash_point.hpp"
#include "host/logging.hpp"
#include "host/spawn.hpp"
#include "host/wall_clock.hpp"
#include "traffic/connections.hpp"

namespace dualdeploy::daemon {

namespace asio = boost::asio;
namespace json = boost::json;

namespace {

constexpr Milliseconds establish_retry{2'000};
constexpr Milliseconds front_answer_kept{500};
constexpr int rescue_rounds = 3;
const std::string rescued = "every route is the RPM, our kernel rules are gone until the next flip or restart";
/// What load balancers go by.
constexpr unsigned in_service = 200;
constexpr unsigned out_of_service = 503;
constexpr unsigned no_such_service = 404;
/// On tmpfs, beside the control socket.
constexpr const char* leaving_file = "/run/dualdeploy/leaving";

/// Exec checks run in this group, and the group's connections are not redirected. Without it they still run, but a
/// check of the RPM on its front port would see what clients see.
std::optional<gid_t> probe_group(const std::string& name) {
  if (const group* found = ::getgrnam(name.c_str()); found != nullptr) return found->gr_gid;
  spdlog::warn("there is no group '{}': exec checks run without it and follow the redirect", name);
  return std::nullopt;
}

host::LogLevel level_of(const Record& record) {
  if (record.kind == RecordKind::alarm) return host::LogLevel::error;
  if (record.kind == RecordKind::auto_revert || record.kind == RecordKind::drift) return host::LogLevel::warning;
  return record.result == Result::failed ? host::LogLevel::warning : host::LogLevel::info;
}

std::string log_text(const Record& record) {
  std::string text = record.message;
  if (record.from && record.to && *record.from != *record.to) {
    text += " (" + describe(*record.from) + " -> " + describe(*record.to) + ")";
  }
  if (record.actor.uid >= 0) text += ", by " + record.actor.user + " (pid " + std::to_string(record.actor.pid) + ")";
  if (!record.reason.empty()) text += ", because: " + record.reason;
  if (record.duration) text += ", " + std::to_string(record.duration->count()) + " ms";
  if (record.result == Result::refused) text = "refused: " + text;
  return text;
}

Expected<PerSide<std::size_t>> connections_of_one(const Expected<ConnectionsByService>& counted, const std::string& service) {
  if (!counted) return std::unexpected(counted.error());
  const auto found = counted->find(service);
  if (found == counted->end()) return fail("the service came while connections were counted");
  return found->second;
}

/// For how long yet its clients are held.
Milliseconds held(const config::Service& service, const traffic::Observed& observed) {
  Milliseconds longest{0};
  for (const config::Port& port : service.ports) {
    const auto found = observed.held.find({port.protocol, port.front});
    if (found != observed.held.end()) longest = std::max(longest, found->second);
  }
  return longest;
}

control::ChangeResult result_of(const std::string& service, const action::Answer& answer) {
  control::ChangeResult result{answer.message, json::object{{"service", service}, {"message", answer.message}}};
  if (answer.from) result.details["from"] = describe(*answer.from);
  if (answer.to) result.details["to"] = describe(*answer.to);
  if (answer.duration) result.details["duration_ms"] = answer.duration->count();
  return result;
}

}  // namespace

Agent::Agent(asio::any_io_executor executor, config::Config config, std::unique_ptr<traffic::Backend> backend,
             instance::Identity identity, bool metadata_used)
    : executor_(executor),
      config_(std::move(config)),
      store_(executor, config_.agent.state_directory, config_.agent.history_bytes),
      router_(executor, std::move(backend), traffic::Router::Settings{config_.agent.drift_check},
              [this](const traffic::Router::Drift& drift) { drifted(drift); },
              [this](const std::optional<Error>& error) { lease_trouble(error); }),
      surroundings_(std::make_shared<Surroundings>(Surroundings{
          executor, router_, store_, workload::make_systemd(executor),
          std::make_shared<workload::EngineClient>(executor, config_.agent.docker_socket),
          health::ProbeIdentity{config_.agent.probe_mark, probe_group(config_.agent.probe_group)},
          [this](const state::StampedRecord& record) { publish(record); }, [this] { changed(); }})),
      retry_timer_(executor),
      identity_(std::move(identity)),
      metadata_used_(metadata_used),
      leaving_(leaving_file) {}

Agent::~Agent() {
  for (const auto& [name, runner] : runners_) runner->end();
}

asio::awaitable<void> Agent::take_over() {
  tell_of_identity();
  read_manifest();
  auto observed = co_await router_.observe();
  if (!observed) {
    spdlog::error("cannot read the kernel rules: {}", observed.error().message);
    observed = traffic::Observed{};
  }
  host::crash_point("kernel observed");
  for (const config::Service& service : config_.services) {
    const auto added = add_service(service);
    KernelRoute kernel;
    if (observed->table_present) {
      const auto found = observed->services.find(service.policy.name);
      kernel = found != observed->services.end() ? found->second : KernelRoute{KernelRoute::Kind::none, {}};
      kernel.held = held(service, *observed);
    }
    added->boot(load(service.policy.name), kernel);
  }
  host::crash_point("rules to establish");
  if (auto established = co_await establish(); !established) retry_establish();
  host::crash_point("rules established");
  for (const auto& [name, runner] : runners_) runner->begin();
  taken_over_ = true;
  changed();
}

/// What the configuration asks for and this machine cannot do.
void Agent::warn_of(const config::Service& service) const {
  if (service.drain.then != config::Drain::Then::close) return;
  if (const auto possible = traffic::can_close_connections(); !possible) {
    spdlog::warn("{}: 'drain: {{then: close}}' will close nothing: {}", service.policy.name, possible.error().message);
  }
}

std::shared_ptr<ServiceRunner> Agent::add_service(const config::Service& service) {
  auto added = std::make_shared<ServiceRunner>(surroundings_, service);
  runners_[service.policy.name] = added;
  warn_of(service);
  return added;
}

traffic::Rules Agent::rules() const {
  traffic::Rules rules;
  rules.probe_mark = config_.agent.probe_mark;
  rules.probe_group = surroundings_->identity.group;
  rules.lease = config_.agent.lease;
  for (const auto& [name, runner] : runners_) rules.services[name] = runner->rules();
  return rules;
}

asio::awaitable<Expected<void>> Agent::establish() {
  auto established = co_await router_.establish(rules());
  const std::string trouble = established ? "" : established.error().message;
  if (trouble != kernel_trouble_) {
    kernel_trouble_ = trouble;
    if (established) {
      spdlog::info("kernel rules are in place");
    } else {
      note({.kind = RecordKind::alarm, .message = "the kernel does not take our rules: " + trouble, .result = Result::failed});
    }
  }
  co_return established;
}

void Agent::retry_establish() {
  retry_timer_.expires_after(establish_retry);
  retry_timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    asio::co_spawn(executor_, establish(), [this](const std::exception_ptr& problem, const Expected<void>& established) {
      if (!problem && !established) retry_establish();
      changed();
    });
  });
}

/// Before the ground is taken from under it.
asio::awaitable<void> Agent::send_home(std::shared_ptr<ServiceRunner> runner, std::string reason) {
  // Named, not temporary: GCC 12 destroys braced temporaries of a co_await expression twice.
  const Command revert = RevertCommand{};
  Actor agent;
  const action::Answer reverted = co_await runner->request(revert, std::move(agent), std::move(reason));
  if (reverted.error) spdlog::warn("{}: {}", runner->service().policy.name, reverted.error->message);
}

asio::awaitable<Expected<std::string>> Agent::reconfigure(config::Config config) {
  const config::Agent& before = config_.agent;
  std::string hint;
  if (before.state_directory != config.agent.state_directory || before.docker_socket != config.agent.docker_socket ||
      before.probe_mark != config.agent.probe_mark || before.drift_check != config.agent.drift_check ||
      before.probe_group != config.agent.probe_group || before.backend != config.agent.backend ||
      before.change_group != config.agent.change_group || before.view_group != config.agent.view_group ||
      before.history_bytes != config.agent.history_bytes || before.health.listen != config.agent.health.listen ||
      before.metadata != config.agent.metadata) {
    hint = "; changes of state_directory, history, docker, traffic, health.listen, metadata, probes and access need a restart "
           "of the agent (traffic is not touched by it)";
    config.agent.state_directory = before.state_directory;
    config.agent.docker_socket = before.docker_socket;
    config.agent.probe_mark = before.probe_mark;
    config.agent.probe_group = before.probe_group;
    config.agent.health.listen = before.health.listen;
    config.agent.metadata = before.metadata;
  }
  std::map<std::string, config::Service> wanted;
  for (const config::Service& service : config.services) wanted.emplace(service.policy.name, service);

  std::vector<std::string> leaving;
  for (const auto& [name, runner] : runners_) {
    if (!wanted.contains(name)) leaving.push_back(name);
  }
  for (const std::string& name : leaving) {
    const auto runner = runners_.at(name);
    co_await send_home(runner, "the service left the configuration");
    if (auto stopped = co_await runner->stop_container(); !stopped) {
      spdlog::warn("{}: the container could not be stopped: {}", name, stopped.error().message);
    }
    runner->end();
    runners_.erase(name);
  }
  for (const auto& [name, service] : wanted) {
    const auto known = runners_.find(name);
    if (known == runners_.end() || known->second->service().policy.strategy == service.policy.strategy) continue;
    const auto runner = known->second;
    co_await send_home(runner, "its strategy changes");
  }
  config_ = std::move(config);
  std::vector<std::shared_ptr<ServiceRunner>> coming;
  for (const auto& [name, service] : wanted) {
    if (const auto found = runners_.find(name); found != runners_.end()) {
      found->second->configure(service);
      warn_of(service);
    } else {
      coming.push_back(add_service(service));
      coming.back()->boot(load(name), KernelRoute{});
    }
  }
  auto established = co_await establish();
  for (const auto& runner : coming) runner->begin();
  host::set_log_level(config_.agent.log_level);
  changed();
  if (!established) co_return std::unexpected(std::move(established.error()).within("the new rules"));
  co_return std::to_string(runners_.size()) + " service(s)" + hint;
}

bool Agent::settled() const {
  const Instant now = host::now();
  return std::ranges::all_of(runners_, [now](const auto& entry) { return dualdeploy::settled(entry.second->state(), now); });
}

void Agent::prepare_to_end() {
  for (const auto& [name, runner] : runners_) runner->prepare_to_end();
}

std::string Agent::halfway() const {
  std::string names;
  for (const auto& [name, runner] : runners_) {
    if (dualdeploy::halfway(runner->state())) names += (names.empty() ? "" : ", ") + name;
  }
  return names;
}

std::string Agent::summary() const {
  std::size_t on_container = 0;
  std::size_t alarm_count = kernel_trouble_.empty() ? 0 : 1;
  std::string waiting;
  for (const auto& [name, runner] : runners_) {
    const ServiceState& state = runner->state();
    if (!state.effective.all_rpm()) ++on_container;
    alarm_count += alarms(state).size();
    const std::string why = why_not_intended(state);
    if (!why.empty()) waiting += "; " + name + ": " + why;
  }
  alarm_count += unlike_sealed().size() + (listener_trouble_.empty() ? 0 : 1);
  if (leaving_.now()) waiting += "; leaving: " + leaving_.now()->text;
  std::string text = std::to_string(runners_.size()) + (runners_.size() == 1 ? " service, " : " services, ") +
                     std::to_string(on_container) + " on the container" + waiting;
  if (alarm_count > 0) text = "ALARM (" + std::to_string(alarm_count) + "), see dualctl status; " + text;
  return text;
}

void Agent::changed() {
  go_to_initial_routes();
  if (on_change_) on_change_();
}

void Agent::note(Record record) { publish(store_.append("", std::move(record))); }
void Agent::flush() { store_.flush(); }

void Agent::publish(const state::StampedRecord& stamped) {
  const Record& record = stamped.record;
  host::log_event(level_of(record),
                  host::LogFields{stamped.service, record.side ? std::string(name_of(*record.side)) : "",
                                  std::string(name_of(record.kind)), stamped.id},
                  log_text(record));
  const json::object object = state::to_json(stamped);
  for (auto entry = listeners_.begin(); entry != listeners_.end();) {
    if (const auto listener = entry->lock()) {
      (*listener)(object);
      ++entry;
    } else {
      entry = listeners_.erase(entry);
    }
  }
}

void Agent::drifted(const traffic::Router::Drift& drift) {
  last_drift_ = host::format_utc(host::wall_unix_ms());
  Record record{.kind = RecordKind::drift, .reason = "by " + drift.who, .duration = drift.took};
  if (drift.error) {
    record.message = drift.what + " and could not be put back: " + drift.error->message;
    record.result = Result::failed;
  } else {
    record.message = drift.what + "; put back";
  }
  note(std::move(record));
  changed();
}

void Agent::lease_trouble(const std::optional<Error>& error) {
  lease_trouble_ = error ? error->message : "";
  note({.kind = RecordKind::alarm,
        .message = error ? "the lease cannot be renewed: " + error->message + "; redirects end by themselves"
                         : "the lease is renewed again",
        .result = error ? Result::failed : Result::done});
  changed();
}

// ---- control::Api -------------------------------------------------------------------------------------------------

std::shared_ptr<ServiceRunner> Agent::runner(const std::string& service) const {
  const auto found = runners_.find(service);
  return found == runners_.end() ? nullptr : found->second;
}

asio::awaitable<Expected<ConnectionsByService>> Agent::connections() const {
  std::vector<std::string> names;
  std::vector<std::vector<config::Port>> ports;
  for (const auto& [name, runner] : runners_) {
    names.push_back(name);
    ports.push_back(runner->service().ports);
  }
  const auto counted = co_await count_connections_of_each(std::move(ports), config_.agent.probe_mark);
  if (!counted) co_return std::unexpected(counted.error());
  ConnectionsByService by_name;
  for (std::size_t i = 0; i < names.size(); ++i) by_name.emplace(names[i], (*counted)[i]);
  co_return by_name;
}

asio::awaitable<json::value> Agent::status(std::optional<std::string> service) const {
  if (service) {
    const auto found = runner(*service);
    if (!found) co_return json::value(nullptr);
    const auto connections = co_await found->connections();
    co_return json::value(status_of(*found, connections, host::now()));
  }
  const auto counted = co_await connections();
  json::array services;
  for (const auto& [name, found] : runners_) services.push_back(status_of(*found, connections_of_one(counted, name), host::now()));
  json::array alarm_texts;
  if (!kernel_trouble_.empty()) alarm_texts.emplace_back("the kernel does not take our rules: " + kernel_trouble_);
  if (!lease_trouble_.empty()) alarm_texts.emplace_back("the lease cannot be renewed: " + lease_trouble_);
  if (!listener_trouble_.empty()) alarm_texts.emplace_back("load balancers cannot ask: " + listener_trouble_);
  for (std::string& text : unlike_sealed()) alarm_texts.emplace_back(std::move(text));
  json::object status{{"version", version_text},
                      {"ready", settled()},
                      {"instance", instance_status()},
                      {"backend", router_.backend_name()},
                      {"lease_ms", config_.agent.lease.count()},
                      {"alarms", std::move(alarm_texts)},
                      {"drift", json::object{{"repairs", router_.repairs()}, {"last", last_drift_}}},
                      {"services", std::move(services)}};
  co_return json::value(std::move(status));
}

asio::awaitable<Expected<control::ChangeResult>> Agent::drain(std::string service, std::optional<Milliseconds> wait) const {
  constexpr Milliseconds pause{200};  // The kernel has no event for "the last connection of a port ended".
  const auto found = runner(service);
  if (!found) co_return fail(ErrorCode::usage, "there is no service '" + service + "'");
  const Instant begun = host::now();
  for (;;) {
    const auto counted = co_await found->connections();
    if (!counted) co_return std::unexpected(Error(counted.error()).within("counting connections"));
    const Route route = found->state().effective;
    json::object details{{"service", service}, {"rpm", (*counted)[Side::rpm]}, {"container", (*counted)[Side::container]}};
    if (route.uses(Side::rpm) && route.uses(Side::container)) {
      if (wait) co_return fail(ErrorCode::refused, service + ": both sides get new connections (" + describe(route) + "), none drains");
      details["message"] = "both sides get new connections (" + describe(route) + ")";
      co_return control::ChangeResult{"", std::move(details)};
    }
    const Side side = route.uses(Side::rpm) ? Side::container : Side::rpm;
    const std::size_t left = (*counted)[side];
    const std::string text = left == 0 ? "no connection is left on " + std::string(name_of(side))
                                       : std::to_string(left) + " left on " + std::string(name_of(side));
    details["side"] = name_of(side);
    details["left"] = left;
    details["message"] = text;
    if (!wait || left == 0) co_return control::ChangeResult{text, std::move(details)};
    if (host::now() - begun >= *wait) {
      co_return fail(ErrorCode::timed_out, service + ": waited " + format_duration(*wait) + ": " + text);
    }
    boost::system::error_code ignored;
    asio::steady_timer timer(executor_, pause);
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

bool Agent::has_service(std::string_view name) const { return runners_.contains(name); }

std::vector<std::string> Agent::service_names() const {
  std::vector<std::string> names;
  for (const auto& [name, runner] : runners_) names.push_back(name);
  return names;
}

Expected<std::vector<json::object>> Agent::history(std::optional<std::string> service, std::size_t limit,
                                                   bool changes_only) const {
  return store_.history(service, limit, changes_only);
}

std::shared_ptr<void> Agent::subscribe(Listener listener) {
  auto entry = std::make_shared<Listener>(std::move(listener));
  listeners_.push_back(entry);
  return entry;
}

asio::awaitable<Expected<control::ChangeResult>> Agent::ask(std::string service, Command command, std::string reason,
                                                            Actor actor) {
  const auto found = runner(service);
  if (!found) co_return fail(ErrorCode::usage, "there is no service '" + service + "'");
  const action::Answer answer = co_await found->request(command, std::move(actor), std::move(reason));
  if (answer.error) co_return std::unexpected(Error(*answer.error).within(service));
  co_return result_of(service, answer);
}

asio::awaitable<Expected<control::ChangeResult>> Agent::flip(control::FlipRequest request, Actor actor) {
  const auto found = runner(request.service);
  if (!found) co_return fail(ErrorCode::usage, "there is no service '" + request.service + "'");
  if (request.to.uses(Side::container)) co_await found->refresh();
  FlipCommand command{request.to, request.force, std::nullopt, request.confirm_within};
  const bool cold = found->service().policy.standby == Standby::cold;  // Its start is part of the flip.
  if (request.wait || cold) command.wait = request.timeout;
  co_return co_await ask(std::move(request.service), command, std::move(request.reason), std::move(actor));
}

asio::awaitable<Expected<control::ChangeResult>> Agent::dry_run(control::FlipRequest request) {
  const auto found = runner(request.service);
  if (!found) co_return fail(ErrorCode::usage, "there is no service '" + request.service + "'");
  if (request.to.uses(Side::container)) co_await found->refresh();
  const auto connections = co_await found->connections();
  const ServiceState& state = found->state();
  const std::vector<Guard> guards = guards_of_flip(state, request.to);
  const auto obstacle = first_in_the_way(guards, request.force);
  json::array verdicts;
  for (const Guard& guard : guards) {
    verdicts.push_back(json::object{{"guard", guard.name},
                                    {"passed", guard.passed},
                                    {"overruled_by_force", guard.overruled_by_force},
                                    {"text", guard.text}});
  }
  const std::string message = obstacle ? "would be refused: " + obstacle->text
                                       : "would send new connections to " + describe(request.to) + "; nothing changed";
  co_return control::ChangeResult{
      message, json::object{{"service", request.service},
                            {"message", message},
                            {"dry_run", true},
                            {"from", describe(state.effective)},
                            {"to", describe(request.to)},
                            {"would_be_done", !obstacle},
                            {"guards", std::move(verdicts)},
                            {"connections", connections_of(connections)},
                            {"transaction", router_.preview(request.service, request.to, request.confirm_within)}}};
}

asio::awaitable<Expected<control::ChangeResult>> Agent::confirm(std::string service, std::string reason, Actor actor) {
  return ask(std::move(service), ConfirmCommand{}, std::move(reason), std::move(actor));
}

asio::awaitable<Expected<control::ChangeResult>> Agent::revert(std::string service, std::string reason, Actor actor) {
  return ask(std::move(service), RevertCommand{}, std::move(reason), std::move(actor));
}

asio::awaitable<Expected<control::ChangeResult>> Agent::hold(std::string service, std::string reason, Actor actor) {
  return ask(std::move(service), HoldCommand{}, std::move(reason), std::move(actor));
}

asio::awaitable<Expected<control::ChangeResult>> Agent::release(std::string service, std::string reason, Actor actor) {
  return ask(std::move(service), ReleaseCommand{}, std::move(reason), std::move(actor));
}

asio::awaitable<Expected<control::ChangeResult>> Agent::rescue(std::string reason, Actor actor) {
  std::string trouble;
  Expected<void> removed;
  bool anybody_back = true;
  for (int round = 0; round < rescue_rounds && anybody_back && removed; ++round) {
    trouble.clear();
    for (const std::string& name : service_names()) {
      const auto found = runner(name);
      if (!found) continue;
      const Command command = RescueCommand{};
      const action::Answer answer = co_await found->request(command, actor, reason);
      if (answer.error) trouble += name + ": " + answer.error->message + "; ";
    }
    removed = co_await router_.stand_down();
    // A handover of one takes its time, in which another may be flipped or fail over. Its redirect went with the rules.
    anybody_back =
        std::ranges::any_of(runners_, [](const auto& entry) { return wanted_in_kernel(entry.second->state()).uses(Side::container); });
  }
  if (anybody_back && removed && trouble.empty()) trouble = "somebody flips to the container again and again; ";
  note({.kind = RecordKind::rescue, .actor = actor, .reason = reason,
        .message = !removed          ? "the kernel rules could not be removed: " + removed.error().message
                   : trouble.empty() ? rescued
                                     : trouble + "our kernel rules are gone all the same",
        .result = removed && trouble.empty() ? Result::done : Result::failed});
  if (!removed) co_return std::unexpected(std::move(removed.error()).within(trouble + "removing the rules"));
  if (!trouble.empty()) co_return fail(trouble + "our kernel rules are gone all the same");
  co_return control::ChangeResult{rescued, json::object{{"message", rescued}}};
}

// ---- The instance -------------------------------------------------------------------------------------------------

state::Store::Loaded Agent::load(const std::string& service) {
  if (!identity_.unusable.empty()) return {.durable = std::nullopt, .trouble = identity_.unusable, .late_record = ""};
  state::Store::Loaded loaded = store_.load(service);
  if (!loaded.late_record.empty()) {
    spdlog::info("{}: the agent ended before this was in the history; it is now: {}", service, loaded.late_record);
  }
  if (loaded.durable || !loaded.trouble.empty()) return loaded;
  auto wanted = identity_.initial.find(service);
  if (wanted == identity_.initial.end()) wanted = identity_.initial.find("*");
  if (wanted != identity_.initial.end() && !wanted->second.all_rpm()) initial_routes_.emplace(service, wanted->second);
  return loaded;
}

/// Once it can be, and with every guard: a flip like an operator's.
void Agent::go_to_initial_routes() {
  for (auto entry = initial_routes_.begin(); entry != initial_routes_.end();) {
    const auto found = runner(entry->first);
    const bool cold = found && found->service().policy.standby == Standby::cold;
    const bool ready = found && found->state().sides[Side::rpm].verdict != Verdict::unknown &&
                       (cold || found->state().sides[Side::container].verdict == Verdict::healthy);
    if (!ready) {
      ++entry;
      continue;
    }
    host::spawn(executor_, "initial route", go_to_initial_route(found, entry->second));
    entry = initial_routes_.erase(entry);
  }
}

asio::awaitable<void> Agent::go_to_initial_route(std::shared_ptr<ServiceRunner> runner, Route route) {
  constexpr Milliseconds patience{60'000};
  co_await runner->refresh();
  const Command flip = FlipCommand{std::move(route), false, patience, std::nullopt};
  Actor agent;
  std::string reason = "initial route, by the instance's tag or user data";
  const action::Answer answer = co_await runner->request(flip, std::move(agent), std::move(reason));
  if (answer.error) spdlog::warn("{}: the initial route is not taken: {}", runner->service().policy.name, answer.error->message);
}

void Agent::tell_of_identity() {
  if (!identity_.unusable.empty()) {
    note({.kind = RecordKind::alarm, .message = "the saved state is not used, every service begins at the RPM: " + identity_.unusable, .result = Result::failed});
  } else if (!identity_.foreign.empty()) {
    note({.kind = RecordKind::instance,
          .message = "the saved state is that of instance " + identity_.foreign + ", this is " + identity_.id +
                     ": set aside, every service begins at its initial route"});
  }
  for (const std::string& warning : identity_.warnings) {
    note({.kind = RecordKind::instance, .message = warning, .result = Result::failed});
  }
  if (metadata_used_ && identity_.id.empty()) {
    note({.kind = RecordKind::instance,
          .message = "which instance this is is not known (yet): " + identity_.trouble + "; the saved state is taken for its own",
          .result = Result::failed});
  }
}

void Agent::read_manifest() {
  auto manifest = state::read_manifest(config_.agent.state_directory);
  if (!manifest) {
    note({.kind = RecordKind::instance, .message = manifest.error().message, .result = Result::failed});
  } else {
    manifest_ = std::move(*manifest);
  }
}

std::vector<std::string> Agent::unlike_sealed() const {
  std::vector<std::string> texts;
  if (!manifest_) return texts;
  for (const auto& [name, sealed] : manifest_->services) {
    const auto found = runner(name);
    if (!found || found->service().container.image != sealed.image) continue;  // Configured otherwise, on purpose.
    const std::string& here = found->state().sides[Side::container].workload.artifact;
    if (!here.empty() && here != sealed.image_id) {
      texts.push_back(name + ": " + sealed.image + " is not the image that was sealed: " + here + " instead of " + sealed.image_id);
    }
  }
  return texts;
}

void Agent::identified(const std::string& id) {
  identity_.id = id;
  identity_.trouble.clear();
  note({.kind = RecordKind::instance, .message = "this is instance " + id});
  host::spawn(executor_, "whose state it is", own_the_state(id));
  changed();
}

/// Known late, with the state in use. Only once nothing of another instance's is left is it remembered as this one's.
asio::awaitable<void> Agent::own_the_state(std::string id) {
  const auto before = instance::remembered(config_.agent.state_directory);
  if (before && before->instance_id != id) {
    identity_.foreign = before->instance_id;
    for (const std::string& name : service_names()) {
      const auto found = runner(name);
      if (!found) continue;
      std::string why = "the route was instance " + before->instance_id + "'s";
      co_await send_home(found, std::move(why));
      const Command release = ReleaseCommand{};
      Actor agent;
      std::string reason = "the hold was instance " + before->instance_id + "'s";
      (void)co_await found->request(release, std::move(agent), std::move(reason));
    }
  }
  if (auto kept = instance::remember(config_.agent.state_directory, id, ""); !kept) {
    note({.kind = RecordKind::instance, .message = kept.error().message, .result = Result::failed});
  }
}

/// Why load balancers cannot ask; nothing: they can.
void Agent::listener_trouble(const std::optional<Error>& error) {
  listener_trouble_ = error ? error->message : "";
  note({.kind = RecordKind::alarm,
        .message = error ? "load balancers cannot ask: " + error->message + "; it is tried again" : "load balancers can ask",
        .result = error ? Result::failed : Result::done});
  changed();
}

void Agent::metadata_trouble(const std::optional<std::string>& trouble) {
  identity_.trouble = trouble.value_or("");
  note({.kind = RecordKind::instance,
        .message = trouble ? "the metadata service cannot be asked: " + *trouble + "; nothing is concluded from that"
                           : "the metadata service answers",
        .result = trouble ? Result::failed : Result::done});
  changed();
}

void Agent::noticed(const std::optional<std::string>& why) {
  leaving_.notice(why, host::now());
  note({.kind = RecordKind::instance,
        .message = why ? "leaving, load balancers are told so: " + *why : "no notice any more, load balancers may come back"});
  changed();
}

json::object Agent::instance_status() const {
  json::object status{{"id", identity_.id},
                      {"metadata", !metadata_used_ ? "off" : identity_.trouble.empty() ? "answers" : "unknown"},
                      {"trouble", identity_.trouble},
                      {"sealed_at", manifest_ ? json::value(manifest_->sealed_at) : json::value(nullptr)},
                      {"leaving", nullptr}};
  if (const auto& why = leaving_.now()) {
    status["leaving"] = json::object{{"why", why->text}, {"since_ms", (host::now() - why->since).count()}};
  }
  return status;
}

asio::awaitable<std::string> Agent::connections_left() const {
  const auto counted = co_await connections();
  if (!counted) co_return "";
  std::string text;
  for (const auto& [name, count] : *counted) {
    text += (text.empty() ? "" : ", ") + name + " " + std::to_string(count[Side::rpm] + count[Side::container]);
  }
  co_return text.empty() ? "" : "open connections: " + text;
}

asio::awaitable<Expected<control::ChangeResult>> Agent::leave(control::LeaveRequest request, Actor actor) {
  const std::string& reason = request.reason;
  const bool wait = request.wait;
  leaving_.ask(reason.empty() ? "asked to by " + actor.user : reason, host::now(), !request.stopping);
  note({.kind = RecordKind::instance, .actor = actor, .reason = reason, .message = "leaving, load balancers are told so"});
  changed();
  const bool listens = config_.agent.health.listen != "off";
  if (wait && listens) {
    const Instant end = leaving_.now()->since + config_.agent.health.leave_for;
    boost::system::error_code ignored;
    asio::steady_timer timer(executor_, std::max(end - host::now(), Milliseconds{0}));
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  const std::string left = co_await connections_left();
  std::string message = listens ? "load balancers are told to leave this instance" : "leaving; health.listen is off, so nobody is told";
  if (!left.empty()) message += "; " + left;
  co_return control::ChangeResult{message, json::object{{"message", message}, {"connections", left}}};
}

asio::awaitable<Expected<control::ChangeResult>> Agent::join(std::string reason, Actor actor) {
  const bool left = leaving_.withdraw();
  std::string message = left ? "load balancers may come back" : "nobody had asked to leave";
  if (leaving_.noticed()) message += "; still leaving: " + leaving_.now()->text;
  if (left) note({.kind = RecordKind::instance, .actor = actor, .reason = reason, .message = message});
  changed();
  co_return control::ChangeResult{message, json::object{{"message", message}}};
}

asio::awaitable<control::FrontHealth> Agent::front_health(std::string service) {
  if (!taken_over_) co_return control::FrontHealth{out_of_service, "starting"};
  if (service.empty()) {
    if (runners_.empty()) co_return control::FrontHealth{out_of_service, "no service is configured"};
    for (const std::string& name : service_names()) {
      std::string each = name;
      auto health = co_await front_health(std::move(each));
      if (health.status != in_service) co_return control::FrontHealth{health.status, name + ": " + health.text};
    }
    co_return control::FrontHealth{in_service, std::to_string(runners_.size()) + " service(s) answer"};
  }
  if (!runners_.contains(service)) co_return control::FrontHealth{no_such_service, "there is no such service"};
  // Strangers may ask as often as they like: there is one look at a time, and its result serves all.
  const auto front = fronts_.try_emplace(service, std::make_shared<Front>(executor_)).first->second;
  while (front->asking) {
    boost::system::error_code cancelled;
    co_await front->done.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
  }
  const bool leaving = leaving_.now().has_value();
  if (front->leaving == leaving && host::now() - front->at < front_answer_kept) co_return front->health;
  front->asking = true;
  front->health = co_await look_at_front(service, leaving);
  front->leaving = leaving;
  front->at = host::now();
  front->asking = false;
  front->done.cancel();
  co_return front->health;
}

asio::awaitable<control::FrontHealth> Agent::look_at_front(std::string service, bool leaving) const {
  if (leaving) {  // Why is an operator's word, and not for everybody.
    const std::string left = co_await connections_left();
    co_return control::FrontHealth{out_of_service, left.empty() ? "leaving" : "leaving; " + left};
  }
  const auto found = runner(service);
  if (!found) co_return control::FrontHealth{out_of_service, "the service left the configuration"};
  PerSide<Verdict> verdicts;
  for (const Side side : both_sides) verdicts[side] = found->state().sides[side].verdict;
  config::Service settings = found->service();
  Route route = found->state().effective;
  const std::string text = describe(route);
  const auto failure = co_await check_front(std::move(settings), std::move(route), verdicts);
  if (failure) co_return control::FrontHealth{out_of_service, "the front does not answer: " + failure->reason};
  co_return control::FrontHealth{in_service, "ok, " + text};
}

json::object Agent::version() const { return json::object{{"version", version_text}, {"revision", revision_text}}; }

}  // namespace dualdeploy::daemon
