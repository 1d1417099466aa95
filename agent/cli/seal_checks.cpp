#include "cli/seal_checks.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <fstream>
#include <thread>

#include "daemon/version.hpp"
#include "host/clock.hpp"
#include "host/text.hpp"
#include "workload/container_side.hpp"

namespace dualdeploy::cli {

namespace json = boost::json;
namespace fs = std::filesystem;

namespace {

constexpr Milliseconds answer_allowance{15'000};
/// A before-hook may take so long (its greatest configurable timeout), and the agent some seconds.
constexpr Milliseconds flip_allowance{615'000};

const json::value* find(const json::value& value, const std::string& pointer) {
  boost::system::error_code error;
  return value.find_pointer(pointer, error);
}
std::string text_at(const json::value& value, const std::string& pointer) {
  const json::value* found = find(value, pointer);
  return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
}
bool is_there(const json::value& value, const std::string& pointer) {
  const json::value* found = find(value, pointer);
  return found != nullptr && !found->is_null();
}
std::int64_t number_at(const json::value& value, const std::string& pointer) {
  const json::value* found = find(value, pointer);
  if (found == nullptr) return 0;
  return found->is_int64()    ? found->get_int64()
         : found->is_uint64() ? static_cast<std::int64_t>(found->get_uint64())
                              : 0;
}
json::array list_at(const json::value& value, const std::string& pointer) {
  const json::value* found = find(value, pointer);
  return found != nullptr && found->is_array() ? found->get_array() : json::array();
}

void append(Problems& problems, Problems more) {
  std::ranges::move(more, std::back_inserter(problems));
}

/// By what it says: the exit status is 0 as well for a unit that is enabled until the next boot only (enabled-runtime),
/// and for one that cannot be enabled and that nothing may pull in (static, indirect).
void check_enabled(const std::string& unit, Problems& problems) {
  const auto asked = run_program({"systemctl", "is-enabled", unit});
  if (!asked) {
    problems.push_back(unit + ": systemd cannot be asked: " + asked.error().message);
    return;
  }
  const std::string state = host::first_line(asked->output);
  if (state == "enabled" || state == "alias" || state == "generated") return;
  if (state.empty() || state == "not-found") {
    problems.push_back(unit + ": there is no such unit: install it, or mend the configuration");
  } else {
    problems.push_back(unit + " will not be started at the next boot (" + state + "): systemctl " +
                       (state.starts_with("masked") ? "unmask" : "enable") + " " + unit);
  }
}

void check_package(const config::Service& service, Problems& problems) {
  if (service.rpm.package.empty()) return;
  const auto package = installed_package(service.rpm.package);
  if (!package) {
    problems.push_back(service.policy.name + ": " + package.error().message);
  } else if (package->name.empty()) {
    problems.push_back(service.policy.name + ": the package " + service.rpm.package +
                       " is not installed: yum install " + service.rpm.package);
  }
}

std::vector<fs::path> rule_files(const fs::path& root) {
  std::vector<fs::path> files;
  for (const char* file : {"etc/nftables.conf", "etc/sysconfig/nftables.conf", "etc/sysconfig/iptables",
                           "etc/sysconfig/ip6tables", "etc/iptables/rules.v4", "etc/iptables/rules.v6"}) {
    files.push_back(root / file);
  }
  std::error_code error;
  const auto included = static_cast<std::ptrdiff_t>(files.size());
  for (fs::directory_iterator entry(root / "etc/nftables", error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    files.push_back(entry->path());
  }
  std::sort(files.begin() + included, files.end());
  return files;
}

/// What the configuration says and the agent does not: it has not been told.
bool runs_as_configured(const json::value& status, const config::Service& service) {
  const json::array ports = list_at(status, "/ports");
  const auto same = [](const json::value& shown, const config::Port& port) {
    return shown == json::value{{"front", port.front},
                                {"rpm", port.rpm},
                                {"container", port.container},
                                {"protocol", config::name_of(port.protocol)}};
  };
  return text_at(status, "/sides/rpm/name") == service.rpm.unit &&
         text_at(status, "/sides/container/name") == service.container.image &&
         std::ranges::equal(ports, service.ports, same);
}

std::string sick_text(const json::value& status, const std::string& side) {
  const std::string at = "/sides/" + side;
  std::string why = text_at(status, at + "/last_failure/reason");
  if (text_at(status, at + "/state") != "running")
    why = text_at(status, at + "/state") + ", " + text_at(status, at + "/detail");
  return "the " + (side == "rpm" ? std::string("RPM") : side) + " side " +
         (text_at(status, at + "/health") == "sick" ? "is sick" : "has not passed a check yet") +
         (why.empty() ? "" : " (" + why + ")") + ": dualctl status " + text_at(status, "/name");
}

/// The image that is here, and the container that runs of it. One that does not run is made anew when it is started.
void check_image(const config::Service& service, BlockingEngine& engine, Problems& problems) {
  const std::string& name = service.policy.name;
  const auto image = engine.image(service.container.image);
  if (!image || !*image) {
    problems.push_back(
        name + ": " +
        (image ? "there is no image " + service.container.image + " here, and none is ever pulled: docker load"
               : image.error().message));
    return;
  }
  const auto container = engine.container(workload::container_name(name));
  if (!container) {
    problems.push_back(name + ": " + container.error().message);
  } else if (*container && (*container)->running && (*container)->image_id != (*image)->id) {
    problems.push_back(name + ": the container is of " + (*container)->image_id + ", and " + service.container.image +
                       " is " + (*image)->id + ": it is replaced once it has no traffic, see dualctl status " + name);
  }
}

/// What may come right by waiting.
Problems unsettled(const json::value& status, const config::Service& service, BlockingEngine& engine) {
  Problems problems;
  const std::string& name = service.policy.name;
  if (!runs_as_configured(status, service)) {
    problems.push_back(name + ": the agent runs it with another configuration: systemctl reload dualdeployd");
    return problems;
  }
  if (is_there(status, "/change")) problems.push_back(name + ": a change is in progress: dualctl status " + name);
  if (text_at(status, "/sides/rpm/health") != "healthy") problems.push_back(name + ": " + sick_text(status, "rpm"));
  // One that a flip starts is judged by the flip.
  const bool runs = service.policy.standby == Standby::warm && service.policy.strategy == Strategy::redirect;
  if (runs && text_at(status, "/sides/container/health") != "healthy")
    problems.push_back(name + ": " + sick_text(status, "container"));
  check_image(service, engine, problems);
  return problems;
}

/// What the agent says against a flip to the container, where that has not been said already.
void check_guards(const Context& context, const std::string& service, Problems& problems) {
  const auto answer =
      context.client().post("/v1/services/" + service + "/flip",
                            json::object{{"to", "container"}, {"dry_run", true}, {"reason", "seal"}}, answer_allowance);
  if (!answer) {
    problems.push_back(service + ": " + answer.error().message);
    return;
  }
  for (const json::value& guard : list_at(*answer, "/guards")) {
    const std::string name = text_at(guard, "/guard");
    const json::value* passed = find(guard, "/passed");
    const bool said = name == "hold" || name == "conflict" || name == "confirm" || name == "health";
    if (!said && (passed == nullptr || !passed->is_bool() || !passed->get_bool())) {
      problems.push_back(service + ": " + name + ": " + text_at(guard, "/text"));
    }
  }
}

void check_route(const json::value& status, Problems& problems) {
  const std::string service = text_at(status, "/name");
  const std::string intended = text_at(status, "/route/intended");
  const std::string effective = text_at(status, "/route/effective");
  if (intended != "rpm" || effective != "rpm") {
    problems.push_back(service + ": the route is " + (intended != "rpm" ? intended : effective) +
                       ", and an image begins at the RPM: dualctl revert " + service);
  }
  if (is_there(status, "/hold")) {
    problems.push_back(service + ": held by " + text_at(status, "/hold/user") + ": " + text_at(status, "/hold/reason") +
                       ": dualctl release " + service);
  }
  if (is_there(status, "/confirm")) {
    problems.push_back(service + ": a flip by " + text_at(status, "/confirm/user") +
                       " waits for its confirmation: dualctl revert " + service);
  }
}

/// Of the services by name; a service without a status is one that the agent does not know.
const json::value* status_of(const json::array& services, const std::string& name) {
  const auto found =
      std::ranges::find_if(services, [&](const json::value& status) { return text_at(status, "/name") == name; });
  return found == services.end() ? nullptr : &*found;
}

Expected<Problems> look_once(const Context& context, const config::Config& config, BlockingEngine& engine) {
  const auto status = context.client().get("/v1/status");
  if (!status) return std::unexpected(status.error());
  const json::array services = list_at(*status, "/services");
  Problems problems;
  for (const config::Service& service : config.services) {
    const json::value* about = status_of(services, service.policy.name);
    if (about == nullptr) {
      problems.push_back(service.policy.name + ": the agent does not know it: systemctl reload dualdeployd");
    } else {
      append(problems, unsettled(*about, service, engine));
    }
  }
  for (const json::value& about : services) {
    const std::string name = text_at(about, "/name");
    const bool configured = std::ranges::any_of(
        config.services, [&](const config::Service& service) { return service.policy.name == name; });
    if (!configured)
      problems.push_back(name + ": the agent runs it, and it is not configured any more: systemctl reload dualdeployd");
  }
  return problems;
}

}  // namespace

Problems check_machine(const config::Config& config) {
  Problems problems;
  if (config.services.empty()) problems.emplace_back("no service is configured: see /etc/dualdeploy/services.d");
  for (const char* unit : {"dualdeployd.socket", "dualdeployd.service"}) check_enabled(unit, problems);
  for (const config::Service& service : config.services) {
    check_enabled(service.rpm.unit, problems);
    check_package(service, problems);
  }
  return problems;
}

Problems check_saved_rules(const fs::path& root) {
  Problems problems;
  for (const fs::path& file : rule_files(root)) {
    std::ifstream stream(file);
    int number = 0;
    for (std::string line; std::getline(stream, line);) {
      ++number;
      if (!line.contains("dualdeploy")) continue;
      problems.push_back(file.string() + ":" + std::to_string(number) +
                         ": rules of ours were saved here and would be loaded at a boot (" + line.substr(0, 100) +
                         "): take them out");
      break;
    }
  }
  return problems;
}

Problems reload_agent(const Context& context) {
  constexpr Milliseconds patience{30'000};
  constexpr Milliseconds pause{50};
  constexpr const char* newest = "/v1/history?all=1&limit=20";
  auto records = context.client().get(newest);
  if (!records) return {records.error().message};
  const json::array before_it = list_at(*records, "");
  const std::int64_t before = before_it.empty() ? 0 : number_at(before_it.back(), "/id");
  const auto reloaded = run_program({"systemctl", "reload", "dualdeployd.service"});
  if (!reloaded || reloaded->exit_status != 0) {
    return {"the agent cannot be told to read its configuration: " +
            (reloaded ? first_line(*reloaded) : reloaded.error().message)};
  }
  const Instant deadline = host::now() + patience;
  while (host::now() < deadline) {
    records = context.client().get(newest);
    if (!records) return {records.error().message};
    for (const json::value& record : list_at(*records, "")) {
      if (number_at(record, "/id") <= before || text_at(record, "/kind") != "config") continue;
      if (text_at(record, "/result") == "done") return {};
      return {"the agent does not take the configuration: " + text_at(record, "/message")};
    }
    std::this_thread::sleep_for(pause);  // A blocking command, whose condition is another process's.
  }
  return {"the agent has not read its configuration within " + format_duration(patience)};
}

Problems check_routes(const Context& context) {
  Problems problems;
  const auto version = context.client().get("/v1/version");
  const auto status = context.client().get("/v1/status");
  if (!version || !status) {
    problems.push_back((version ? status : version).error().message);
    return problems;
  }
  const std::string runs = text_at(*version, "/version") + " (" + text_at(*version, "/revision") + ")";
  const std::string installed = std::string(daemon::version_text) + " (" + std::string(daemon::revision_text) + ")";
  if (runs != installed)
    problems.push_back("the agent that runs is " + runs + ", installed is " + installed +
                       ": systemctl restart dualdeployd");
  for (const json::value& service : list_at(*status, "/services")) check_route(service, problems);
  return problems;
}

Problems check_services(const Context& context, const config::Config& config, Milliseconds timeout) {
  constexpr Milliseconds pause{300};
  const Instant deadline = host::now() + timeout;
  BlockingEngine engine(config.agent.docker_socket);
  auto problems = look_once(context, config, engine);
  while (problems && !problems->empty() && host::now() < deadline) {
    std::this_thread::sleep_for(pause);  // A blocking command; the conditions are other processes'.
    problems = look_once(context, config, engine);
  }
  if (!problems) return {problems.error().message};
  for (const config::Service& service : config.services) check_guards(context, service.policy.name, *problems);
  return std::move(*problems);
}

Problems flip_there_and_back(const Context& context, const std::string& service, Milliseconds timeout) {
  Problems problems;
  const auto flip = [&](const char* side) {
    auto flipped = context.client().post(
        "/v1/services/" + service + "/flip",
        json::object{{"to", side}, {"wait", true}, {"timeout", format_duration(timeout)}, {"reason", "seal"}},
        timeout + flip_allowance);
    if (!flipped) problems.push_back(service + ": a flip to the " + side + " failed: " + flipped.error().message);
    return flipped.has_value();
  };
  if (!flip("container") || !flip("rpm")) {
    auto reverted = context.client().post("/v1/services/" + service + "/revert", json::object{{"reason", "seal"}},
                                          answer_allowance);
    if (!reverted) problems.push_back(service + ": and it could not be reverted: " + reverted.error().message);
  }
  return problems;
}

}  // namespace dualdeploy::cli
