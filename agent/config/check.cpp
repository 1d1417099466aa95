#include <algorithm>

#include "config/schema.hpp"

namespace dualdeploy::config {

using namespace std::chrono_literals;

namespace {

/// The port of a check, and that it is this side's.
void read_port(Mapping& mapping, std::uint16_t& port, std::optional<std::uint16_t> first_port,
               const std::vector<std::uint16_t>& foreign_ports) {
  port = first_port.value_or(0);
  const auto value = mapping.find("port");
  if (!value) {
    if (!first_port && !foreign_ports.empty()) mapping.problem("key 'port' is missing; all ports of the service are UDP");
    return;
  }
  const auto number = value->integer(1, std::numeric_limits<std::uint16_t>::max());
  if (!number) return;
  port = static_cast<std::uint16_t>(*number);
  if (std::ranges::count(foreign_ports, port) > 0) {
    value->problem("port " + std::to_string(port) +
                   " answers for the other side; expected a port of this one");
  }
}

void read_status(Mapping& http, std::vector<int>& status) {
  const auto value = http.find("status");
  if (!value) return;
  std::vector<Value> values{*value};
  if (!value->node.IsScalar()) {
    auto list = value->list(1, 100, "an HTTP status or a list of 1 to 100, such as [200, 204]");
    if (!list) return;
    values = std::move(*list);
  }
  for (const Value& element : values) {
    if (const auto number = element.integer(100, 599)) status.push_back(static_cast<int>(*number));
  }
}

HttpCheck read_http(Mapping& http, std::optional<std::uint16_t> first_port,
                    const std::vector<std::uint16_t>& foreign_ports) {
  HttpCheck check;
  read_port(http, check.port, first_port, foreign_ports);
  http.text("path", check.path, form::http_path);
  http.text("host", check.host, form::http_host);
  http.text("address", check.address, form::address);
  read_status(http, check.status);
  http.text("contains", check.contains, form::nonempty_text);
  http.finish();
  return check;
}

TcpCheck read_tcp(Mapping& tcp, std::optional<std::uint16_t> first_port, const std::vector<std::uint16_t>& foreign_ports) {
  TcpCheck check;
  read_port(tcp, check.port, first_port, foreign_ports);
  tcp.text("address", check.address, form::address);
  tcp.finish();
  return check;
}

ExecCheck read_exec(Mapping& exec) {
  ExecCheck check;
  if (const auto command = exec.require("command", form::command)) {
    const auto words = command->list(1, 256, form::command);
    for (const Value& word : words.value_or(std::vector<Value>{})) {
      const auto text = word.text(check.command.empty() ? form::absolute_path : form::any_text);
      if (!text) break;
      check.command.push_back(*text);
    }
  }
  exec.text("user", check.user, form::user);
  exec.finish();
  return check;
}

}  // namespace

Check read_check(Mapping& side, std::optional<std::uint16_t> first_port, const std::vector<std::uint16_t>& foreign_ports) {
  // What is wrong with the ports has been said: a check does not complain again.
  const bool only_udp = !first_port && !foreign_ports.empty();
  Check check;
  check.probe = TcpCheck{.port = first_port.value_or(0)};
  auto mapping = side.section("check");
  if (!mapping) {
    if (only_udp) side.problem("all ports are UDP, which cannot be connected to; expected a 'check' with exec, or with a TCP 'port'");
    return check;
  }
  int kinds = 0;
  if (auto http = mapping->section("http")) {
    ++kinds;
    check.probe = read_http(*http, first_port, foreign_ports);
  }
  if (auto tcp = mapping->section("tcp")) {
    ++kinds;
    check.probe = read_tcp(*tcp, first_port, foreign_ports);
  }
  if (auto exec = mapping->section("exec")) {
    ++kinds;
    check.probe = read_exec(*exec);
  }
  if (mapping->valid() && kinds != 1) {
    mapping->problem("expected exactly one of http, tcp and exec, got " +
                     (kinds == 0 ? std::string("none") : std::to_string(kinds)));
  }
  mapping->duration("interval", check.interval, 100ms, 1h);
  mapping->duration("timeout", check.timeout, 10ms, 5min);
  mapping->finish();
  return check;
}

}  // namespace dualdeploy::config
