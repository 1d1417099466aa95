#include <algorithm>

#include "config/schema.hpp"

namespace dualdeploy::config {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t most_ports = 32;
constexpr std::int64_t mebibyte = 1'048'576;

void read_name(Mapping& root, const std::filesystem::path& file, ReadService& read, Report& report) {
  std::string& name = read.service.policy.name;
  read.name = YAML::Mark::null_mark();
  if (const auto value = root.find("name")) {
    read.name = value->mark;
    name = value->text(form::service_name).value_or("");
    return;
  }
  name = file.stem().string();
  if (form::service_name.fits(name)) return;
  report.whole_file("the file's name is the service's unless 'name' says otherwise: expected " +
                    std::string(form::service_name.expected) + ", got " + in_quotes(name));
  name.clear();
}

void read_ports(Mapping& root, ReadService& read) {
  constexpr std::string_view form = "a list of 1 to 32 ports such as {front: 80, container: 8080}";
  const auto value = root.require("ports", form);
  if (!value) return;
  const auto entries = value->list(1, most_ports, form);
  for (const Value& entry : entries.value_or(std::vector<Value>{})) {
    Mapping mapping(entry);
    if (!mapping.valid()) continue;
    Port port;
    constexpr std::int64_t greatest = std::numeric_limits<std::uint16_t>::max();
    if (const auto front = mapping.require("front", "the port that clients use")) {
      port.front = static_cast<std::uint16_t>(front->integer(1, greatest).value_or(0));
    }
    port.rpm = port.front;
    port.container = port.front;
    if (read.service.policy.strategy == Strategy::redirect) {
      port.container = 0;
      if (const auto container = mapping.require("container", "the port that the container listens on")) {
        port.container = static_cast<std::uint16_t>(container->integer(1, greatest).value_or(0));
      }
      mapping.port("rpm", port.rpm);
    }
    mapping.choice<Protocol>("protocol", port.protocol, {{"tcp", Protocol::tcp}, {"udp", Protocol::udp}});
    read.ports.push_back({mapping.mark_of("front"), mapping.mark_of("rpm"), mapping.mark_of("container")});
    read.service.ports.push_back(port);
    mapping.finish();
  }
}

/// The words of a command: a program, then its arguments.
void read_command(Mapping& mapping, std::string_view key, std::vector<std::string>& command) {
  const auto value = mapping.find(key);
  if (!value) return;
  const auto words = value->list(1, 256, form::command);
  for (const Value& word : words.value_or(std::vector<Value>{})) {
    const auto text = word.text(command.empty() ? form::absolute_path : form::any_text);
    if (!text) return;
    command.push_back(*text);
  }
}

void read_drain(Mapping& root, Service& service) {
  auto drain = root.section("drain");
  if (!drain) return;
  drain->duration("timeout", service.drain.timeout, 0s, 24h);
  drain->choice<Drain::Then>("then", service.drain.then, {{"leave", Drain::Then::leave}, {"close", Drain::Then::close}});
  drain->finish();
}

void read_hooks(Mapping& root, Service& service) {
  auto hooks = root.section("hooks");
  if (!hooks) return;
  read_command(*hooks, "before", service.hooks.before);
  read_command(*hooks, "after", service.hooks.after);
  hooks->duration("timeout", service.hooks.timeout, 100ms, 10min);
  hooks->finish();
  service.policy.before_hook = !service.hooks.before.empty();
  service.policy.after_hook = !service.hooks.after.empty();
}

/// What a check without a port of its own connects to; nothing if all ports are UDP.
std::optional<std::uint16_t> first_tcp(const std::vector<Port>& ports, std::uint16_t Port::* of_side) {
  const auto found = std::ranges::find(ports, Protocol::tcp, &Port::protocol);
  return found == ports.end() ? std::nullopt : std::optional((*found).*of_side);
}

void read_restart(Mapping& side, SidePolicy& policy) {
  auto restart = side.section("restart");
  if (!restart) return;
  restart->duration("delay", policy.restart_delay, 10ms, 1h);
  restart->duration("delay_max", policy.restart_delay_max, 10ms, 1h);
  restart->integer("limit", policy.restart_limit, 1, 1000);
  restart->duration("reset", policy.restart_reset, 100ms, 24h);
  restart->duration("rest", policy.restart_rest, 100ms, 24h);
  if (policy.restart_delay_max < policy.restart_delay) {
    restart->problem("'delay_max' is " + format_duration(policy.restart_delay_max) +
                     "; expected at least 'delay', which is " + format_duration(policy.restart_delay));
  }
  restart->finish();
}

/// What both sides have.
void read_policy(Mapping& side, SidePolicy& policy) {
  side.integer("rise", policy.rise, 1, 100);
  side.integer("fall", policy.fall, 1, 100);
  side.duration("start_period", policy.start_period, 0s, 1h);
  read_restart(side, policy);
}

void read_rpm(Mapping& root, Service& service) {
  const auto value = root.require("rpm", "a mapping with at least 'unit'");
  if (!value) return;
  Mapping mapping(*value);
  RpmSide& rpm = service.rpm;
  if (const auto unit = mapping.require("unit", form::unit.expected))
    rpm.unit = unit->text(form::unit).value_or("");
  mapping.text("package", rpm.package, form::package);
  read_command(mapping, "revision", rpm.revision);
  std::vector<std::uint16_t> foreign_ports;
  for (const Port& port : service.ports) {
    if (port.container != port.rpm) foreign_ports.push_back(port.container);
  }
  rpm.check = read_check(mapping, first_tcp(service.ports, &Port::rpm), foreign_ports);
  read_policy(mapping, service.policy.sides[Side::rpm]);
  mapping.finish();
}

void read_ulimits(Mapping& container, std::vector<Ulimit>& ulimits) {
  constexpr std::int64_t unlimited = -1;
  constexpr std::int64_t greatest = std::numeric_limits<std::int64_t>::max();
  auto mapping = container.section("ulimits");
  if (!mapping) return;
  for (const auto& [name, value] : mapping->take_all(form::ulimit)) {
    Ulimit ulimit{.name = name};
    if (!value.node.IsMap()) {
      ulimit.soft = ulimit.hard = value.integer(unlimited, greatest).value_or(0);
      ulimits.push_back(ulimit);
      continue;
    }
    Mapping pair(value);
    const auto soft = pair.require("soft", "a whole number, -1 for no limit");
    const auto hard = pair.require("hard", "a whole number, -1 for no limit");
    if (soft) ulimit.soft = soft->integer(unlimited, greatest).value_or(0);
    if (hard) ulimit.hard = hard->integer(unlimited, greatest).value_or(greatest);
    if (hard && ulimit.hard != unlimited && (ulimit.soft == unlimited || ulimit.soft > ulimit.hard)) {
      pair.problem("'soft' is " + std::to_string(ulimit.soft) + "; expected at most 'hard', which is " +
                   std::to_string(ulimit.hard));
    }
    pair.finish();
    ulimits.push_back(ulimit);
  }
}

/// What the container may use and do.
void read_limits(Mapping& mapping, ContainerSide& container) {
  read_ulimits(mapping, container.ulimits);
  mapping.size("memory", container.memory_bytes, 6 * mebibyte,
               16 * mebibyte * mebibyte);                                     // 6MiB: the engine's least.
  mapping.integer<std::int64_t>("pids", container.pids_limit, 1, 4'194'304);  // The kernel's PID_MAX_LIMIT.
  mapping.text("user", container.user, form::container_user);
  mapping.flag("read_only", container.read_only_root);
  mapping.texts("cap_add", container.cap_add, form::capability);
  mapping.texts("cap_drop", container.cap_drop, form::capability);
  mapping.texts("security_opt", container.security_options, form::security_option);
}

void read_log(Mapping& mapping, ContainerSide& container) {
  auto log = mapping.section("log");
  if (!log) return;
  log->text("driver", container.log_driver, form::log_driver);
  log->texts("options", container.log_options, form::option_name);
  log->finish();
}

void read_container(Mapping& root, Service& service) {
  const auto value = root.require("container", "a mapping with at least 'image'");
  if (!value) return;
  Mapping mapping(*value);
  ContainerSide& container = service.container;
  if (const auto image = mapping.require("image", form::image.expected)) {
    container.image = image->text(form::image).value_or("");
  }
  mapping.texts("command", container.command, form::any_text);
  mapping.texts("entrypoint", container.entrypoint, form::any_text);
  mapping.texts("env", container.environment, form::variable);
  mapping.texts("binds", container.binds, form::bind);
  mapping.texts("tmpfs", container.tmpfs, form::tmpfs);
  read_limits(mapping, container);
  read_log(mapping, container);
  mapping.texts("labels", container.labels, form::label);
  mapping.flag("init", container.init);
  mapping.text("image_id", service.policy.image_id, form::image_id);
  mapping.choice<Standby>("standby", service.policy.standby, {{"warm", Standby::warm}, {"cold", Standby::cold}});
  mapping.duration("stop_after", service.policy.stop_after, 0s, 24h);
  mapping.duration("stop_timeout", container.stop_timeout, 0s, 10min);
  std::vector<std::uint16_t> foreign_ports;
  for (const Port& port : service.ports) {
    if (port.container != port.front) foreign_ports.insert(foreign_ports.end(), {port.front, port.rpm});
  }
  container.check = read_check(mapping, first_tcp(service.ports, &Port::container), foreign_ports);
  read_policy(mapping, service.policy.sides[Side::container]);
  mapping.finish();
}

}  // namespace

ReadService read_service(const Value& root) {
  ReadService read;
  read.service.file = root.report->file();
  if (root.node.IsNull()) {
    root.report->whole_file("empty; expected a service with at least 'ports', 'rpm' and 'container'");
    return read;
  }
  Mapping mapping(root);
  if (!mapping.valid()) return read;
  Service& service = read.service;
  read_name(mapping, service.file, read, *root.report);
  mapping.choice<Side>("initial", service.policy.initial,
                       {{"rpm", Side::rpm}, {"container", Side::container}});
  mapping.choice<Strategy>("strategy", service.policy.strategy,
                           {{"redirect", Strategy::redirect}, {"handover", Strategy::handover}});
  mapping.duration("handover_deadline", service.policy.handover_deadline, 1s, 1h);
  read_ports(mapping, read);
  if (auto traffic = mapping.section("traffic")) {
    traffic->flag("local", service.local_traffic);
    traffic->flag("guard", service.guard);
    traffic->finish();
  }
  mapping.duration("bake", service.policy.bake, 0s, 24h);
  mapping.flag("parity", service.policy.parity);
  mapping.flag("proof", service.policy.proof);
  mapping.choice<RpmUnhealthy>("rpm_unhealthy", service.policy.rpm_unhealthy,
                               {{"stay", RpmUnhealthy::stay}, {"failover", RpmUnhealthy::failover}});
  read_hooks(mapping, service);
  read_drain(mapping, service);
  read_rpm(mapping, service);
  read_container(mapping, service);
  mapping.finish();
  return read;
}

}  // namespace dualdeploy::config
