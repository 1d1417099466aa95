#include "cli/seal_checks.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <fstream>
#include <thread>

#include "host/clock.hpp"
#include "host/command.hpp"
#include "host/wall_clock.hpp"
#include "workload/engine_client.hpp"

namespace dualdeploy::cli {

namespace json = boost::json;
namespace fs = std::filesystem;

namespace {

constexpr Milliseconds answer_allowance{15'000};

std::string text_at(const json::value& value, const std::string& pointer) {
  boost::system::error_code error;
  const json::value* found = value.find_pointer(pointer, error);
  return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
}

std::int64_t number_at(const json::value& value, const std::string& pointer) {
  boost::system::error_code error;
  const json::value* found = value.find_pointer(pointer, error);
  if (found == nullptr) return 0;
  return found->is_int64() ? found->get_int64() : found->is_uint64() ? static_cast<std::int64_t>(found->get_uint64()) : 0;
}

void check_enabled(const std::string& unit, Problems& problems) {
  const Ran enabled = run_program({"systemctl", "is-enabled", unit});
  if (enabled.status == 0) return;
  problems.push_back(unit + " will not be started at the next boot (" + (enabled.line.empty() ? "there is no such unit" : enabled.line) +
                     "): systemctl enable " + unit);
}

void check_service_units(const config::Service& service, Problems& problems) {
  check_enabled(service.rpm.unit, problems);
  if (service.rpm.package.empty()) return;
  if (run_program({"rpm", "-q", service.rpm.package}).status != 0) {
    problems.push_back(service.policy.name + ": the package " + service.rpm.package + " is not installed");
  }
}

/// Waits for the side, as long as there is hope; what it is in the end.
Expected<std::string> health_within(const Context& context, const std::string& service, const std::string& side, Instant deadline) {
  constexpr Milliseconds pause{200};
  for (;;) {
    auto status = context.client().get("/v1/services/" + service);
    if (!status) return std::unexpected(status.error());
    std::string health = text_at(*status, "/sides/" + side + "/health");
    if (health == "healthy" || host::now() >= deadline) return health;
    std::this_thread::sleep_for(pause);  // A blocking command, whose condition is another process's.
  }
}

/// The guards of a flip to the container, as the agent judges them.
void check_guards(const Context& context, const std::string& service, Problems& problems) {
  auto answer = context.client().post("/v1/services/" + service + "/flip",
                                      json::object{{"to", "container"}, {"dry_run", true}, {"reason", "seal"}}, answer_allowance);
  if (!answer) {
    problems.push_back(service + ": " + answer.error().message);
    return;
  }
  const json::object* details = answer->if_object();
  const json::value* guards = details != nullptr ? details->if_contains("guards") : nullptr;
  if (guards == nullptr || !guards->is_array()) return;
  for (const json::value& guard : guards->get_array()) {
    const json::value* passed = guard.as_object().if_contains("passed");
    if (passed != nullptr && passed->is_bool() && !passed->get_bool()) problems.push_back(service + ": " + text_at(guard, "/text"));
  }
}

void check_route(const json::value& status, const std::string& service, Problems& problems) {
  const std::string intended = text_at(status, "/route/intended");
  const std::string effective = text_at(status, "/route/effective");
  if (intended != "rpm" || effective != "rpm") {
    problems.push_back(service + ": the route is " + (intended != "rpm" ? intended : effective) +
                       ", and an image begins at the RPM: dualctl revert " + service);
  }
}

/// What the next start of the container would take. The agent looks at it from time to time, and goes over to another
/// image once the container has no traffic: in between, one runs that the next boot would not start.
void check_image(const std::string& engine_socket, const json::value& status, const config::Service& service, Problems& problems) {
  boost::asio::io_context loop;
  workload::EngineClient engine(loop.get_executor(), engine_socket);
  Expected<std::optional<workload::EngineClient::Image>> image = fail("the engine was not asked");
  boost::asio::co_spawn(loop, engine.inspect_image(service.container.image),
                        [&image](const std::exception_ptr& error, Expected<std::optional<workload::EngineClient::Image>> found) {
                          if (!error) image = std::move(found);
                        });
  loop.run();
  const std::string& name = service.policy.name;
  const std::string runs = text_at(status, "/sides/container/artifact");
  if (!image) {
    problems.push_back(name + ": " + image.error().message);
  } else if (!*image) {
    problems.push_back(name + ": image " + service.container.image + " is not on this machine; build it or load it (docker load)");
  } else if ((*image)->id != runs) {
    problems.push_back(name + ": " + service.container.image + " is another image by now, " + (*image)->id + " of revision " +
                       ((*image)->revision.empty() ? "none" : (*image)->revision) + "; checked and running is " + runs +
                       ": try again once the agent has gone over to it");
  }
}

}  // namespace

Ran run_program(std::vector<std::string> argv) {
  boost::asio::io_context loop;
  Ran ran;
  host::Command command;
  command.argv = std::move(argv);
  host::CommandLimits limits;
  limits.deadline = Milliseconds{90'000};
  boost::asio::co_spawn(loop, host::run_command(std::move(command), limits),
                        [&ran](const std::exception_ptr& error, const Expected<host::CommandResult>& result) {
                          if (error || !result) return;
                          ran.status = result->exit_status;
                          const std::string& said = result->output.empty() ? result->error : result->output;
                          ran.line = said.substr(0, said.find('\n'));
                        });
  loop.run();
  return ran;
}

Problems check_machine(const config::Config& config) {
  Problems problems;
  if (config.services.empty()) problems.emplace_back("no service is configured; see /etc/dualdeploy/services.d");
  for (const char* unit : {"dualdeployd.socket", "dualdeployd.service"}) check_enabled(unit, problems);
  for (const config::Service& service : config.services) check_service_units(service, problems);
  return problems;
}

Problems check_saved_rules(const fs::path& root) {
  Problems problems;
  for (const char* file : {"etc/nftables.conf", "etc/sysconfig/nftables.conf", "etc/sysconfig/iptables", "etc/sysconfig/ip6tables",
                           "etc/iptables/rules.v4", "etc/iptables/rules.v6"}) {
    std::ifstream stream(root / file);
    int number = 0;
    for (std::string line; std::getline(stream, line);) {
      ++number;
      if (!line.contains("dualdeploy")) continue;
      problems.push_back((root / file).string() + ":" + std::to_string(number) +
                         ": rules of ours were saved here and would be loaded at a boot: " + line.substr(0, 100));
      break;
    }
  }
  return problems;
}

Problems reload_agent(const Context& context) {
  constexpr Milliseconds patience{30'000};
  constexpr Milliseconds pause{50};
  constexpr const char* newest = "/v1/history?all=1&limit=20";
  const auto last_id = [&]() -> std::int64_t {
    auto records = context.client().get(newest);
    if (!records || !records->is_array() || records->get_array().empty()) return 0;
    return number_at(records->get_array().back(), "/id");
  };
  const std::int64_t before = last_id();
  if (const Ran reloaded = run_program({"systemctl", "reload", "dualdeployd.service"}); reloaded.status != 0) {
    return {"the agent cannot be told to read its configuration: " + reloaded.line};
  }
  const Instant deadline = host::now() + patience;
  while (host::now() < deadline) {
    auto records = context.client().get(newest);
    if (!records) return {records.error().message};
    for (const json::value& record : records->get_array()) {
      if (number_at(record, "/id") <= before || text_at(record, "/kind") != "config") continue;
      if (text_at(record, "/result") == "done") return {};
      return {"the agent does not take the configuration: " + text_at(record, "/message")};
    }
    std::this_thread::sleep_for(pause);  // A blocking command, whose condition is another process's.
  }
  return {"the agent has not read its configuration within " + format_duration(patience)};
}

Expected<Problems> check_services(const Context& context, const config::Config& config, Milliseconds timeout) {
  Problems problems;
  const Instant deadline = host::now() + timeout;
  for (const config::Service& service : config.services) {
    const std::string& name = service.policy.name;
    auto status = context.client().get("/v1/services/" + name);
    if (!status && status.error().code == ErrorCode::usage) {
      problems.push_back(name + ": the agent does not know it: systemctl reload dualdeployd");
      continue;
    }
    if (!status) return std::unexpected(status.error());
    check_route(*status, name, problems);
    auto rpm = health_within(context, name, "rpm", deadline);
    if (!rpm) return std::unexpected(rpm.error());
    if (*rpm != "healthy") problems.push_back(name + ": the RPM side is " + *rpm + ": " + text_at(*status, "/sides/rpm/last_failure/reason"));
    // One that is started for a flip only is judged by the flip.
    if (service.policy.standby == Standby::cold) continue;
    if (auto container = health_within(context, name, "container", deadline); !container) return std::unexpected(container.error());
    check_guards(context, name, problems);
    if (status = context.client().get("/v1/services/" + name); !status) return std::unexpected(status.error());
    check_image(config.agent.docker_socket, *status, service, problems);
  }
  return problems;
}

Problems flip_there_and_back(const Context& context, const std::string& service, Milliseconds timeout) {
  Problems problems;
  const auto flip = [&](const char* side) {
    auto flipped = context.client().post(
        "/v1/services/" + service + "/flip",
        json::object{{"to", side}, {"wait", true}, {"timeout", format_duration(timeout)}, {"reason", "seal"}}, timeout + answer_allowance);
    if (!flipped) problems.push_back(service + ": a flip to the " + side + " failed: " + flipped.error().message);
    return flipped.has_value();
  };
  if (!flip("container") || !flip("rpm")) {
    auto reverted = context.client().post("/v1/services/" + service + "/revert", json::object{{"reason", "seal"}}, answer_allowance);
    if (!reverted) problems.push_back(service + ": and it could not be reverted: " + reverted.error().message);
  }
  return problems;
}

Expected<state::Manifest> take_stock(const Context& context, const config::Config& config) {
  auto version = context.client().get("/v1/version");
  if (!version) return std::unexpected(version.error());
  state::Manifest manifest{host::format_utc(host::wall_unix_ms()), text_at(*version, "/version"), text_at(*version, "/revision"), {}};
  for (const config::Service& service : config.services) {
    auto status = context.client().get("/v1/services/" + service.policy.name);
    if (!status) return std::unexpected(status.error());
    manifest.services[service.policy.name] = {text_at(*status, "/sides/rpm/artifact"), text_at(*status, "/sides/rpm/revision"),
                                              service.container.image, text_at(*status, "/sides/container/artifact"),
                                              text_at(*status, "/sides/container/revision")};
  }
  return manifest;
}

std::vector<std::string> differences(const state::Manifest& sealed, const state::Manifest& now) {
  std::vector<std::string> lines;
  const auto compare = [&](const std::string& what, const std::string& then, const std::string& here) {
    const auto named = [](const std::string& text) { return text.empty() ? std::string("none") : text; };
    if (then != here) lines.push_back(what + " was " + named(then) + ", is " + named(here));
  };
  compare("dualdeploy", sealed.version + " (" + sealed.revision + ")", now.version + " (" + now.revision + ")");
  for (const auto& [name, then] : sealed.services) {
    const auto here = now.services.find(name);
    if (here == now.services.end()) {
      lines.push_back(name + ": was there, is not configured any more");
      continue;
    }
    compare(name + ": package", then.package, here->second.package);
    compare(name + ": package revision", then.package_revision, here->second.package_revision);
    compare(name + ": image", then.image, here->second.image);
    compare(name + ": image id", then.image_id, here->second.image_id);
    compare(name + ": image revision", then.image_revision, here->second.image_revision);
  }
  for (const auto& [name, here] : now.services) {
    if (!sealed.services.contains(name)) lines.push_back(name + ": was not there when the image was sealed");
  }
  return lines;
}

}  // namespace dualdeploy::cli
