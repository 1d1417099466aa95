#include "daemon/status.hpp"

#include <boost/json.hpp>

#include "host/wall_clock.hpp"

namespace dualdeploy::daemon {

namespace json = boost::json;

namespace {

json::value change_of(const ServiceState& state, Instant now) {
  if (!state.change) return nullptr;
  const Change& change = *state.change;
  return json::object{{"kind", name_of(change.kind)},
                      {"to", describe(change.to)},
                      {"user", change.actor.user},
                      {"phase", name_of(change.phase)},
                      {"since_ms", (now - change.begun).count()}};
}

json::value hold_of(const ServiceState& state) {
  if (!state.durable.hold) return nullptr;
  const Hold& hold = *state.durable.hold;
  return json::object{{"user", hold.owner.user},
                      {"uid", hold.owner.uid},
                      {"reason", hold.reason},
                      {"since", host::format_utc(hold.since_unix_ms)}};
}

json::value confirm_of(const ServiceState& state, Instant now) {
  if (!state.durable.confirm) return nullptr;
  const Confirm& confirm = *state.durable.confirm;
  return json::object{{"user", confirm.actor.user},
                      {"back_to", describe(confirm.back_to)},
                      {"left_ms", std::max<std::int64_t>((confirm.deadline - now).count(), 0)}};
}

json::value drain_of(const ServiceRunner& runner, Instant now) {
  if (!runner.draining()) return nullptr;
  const Drain::Progress& drain = *runner.draining();
  json::object object{{"side", name_of(drain.side)}, {"left", nullptr}, {"since_ms", (now - drain.since).count()},
                      {"closes_in_ms", nullptr}};
  if (drain.left) object["left"] = *drain.left;
  if (drain.closes_at) object["closes_in_ms"] = std::max<std::int64_t>((*drain.closes_at - now).count(), 0);
  return object;
}

json::object side_of(const SideState& side, const std::string& name, Instant now) {
  json::object object{{"name", name},
                      {"state", name_of(side.workload.state)},
                      {"pid", side.workload.pid},
                      {"detail", side.workload.detail},
                      {"revision", side.workload.revision},
                      {"artifact", side.workload.artifact},
                      {"health", name_of(side.verdict)},
                      {"since_ms", side.verdict == Verdict::unknown ? 0 : (now - side.verdict_since).count()},
                      {"restarts", side.starts},
                      {"last_operation_error", side.last_operation_error},
                      {"last_failure", nullptr}};
  if (side.last_failure) {
    object["last_failure"] = json::object{{"reason", side.last_failure->reason},
                                          {"excerpt", side.last_failure->excerpt},
                                          {"ago_ms", (now - side.last_failure_at).count()}};
  }
  return object;
}

}  // namespace

json::value connections_of(const Expected<PerSide<std::size_t>>& connections) {
  if (!connections) return nullptr;
  return json::object{{"rpm", (*connections)[Side::rpm]}, {"container", (*connections)[Side::container]}};
}

json::object status_of(const ServiceRunner& runner, const Expected<PerSide<std::size_t>>& connections, Instant now) {
  const ServiceState& state = runner.state();
  const config::Service& service = runner.service();
  json::array ports;
  for (const config::Port& port : service.ports) {
    ports.push_back(json::object{{"front", port.front},
                                 {"rpm", port.rpm},
                                 {"container", port.container},
                                 {"protocol", config::name_of(port.protocol)}});
  }
  json::array alarm_texts;
  for (const std::string& text : alarms(state)) alarm_texts.emplace_back(text);
  const bool baking = !state.change && state.bake_until && now < *state.bake_until && state.effective.uses(Side::container);
  return json::object{
      {"name", service.policy.name},
      {"route", json::object{{"intended", describe(state.durable.route)},
                             {"effective", describe(state.effective)},
                             {"why", why_not_intended(state)}}},
      {"ports", std::move(ports)},
      {"change", change_of(state, now)},
      {"hold", hold_of(state)},
      {"confirm", confirm_of(state, now)},
      {"connections", connections_of(connections)},
      {"drain", drain_of(runner, now)},
      {"bake_left_ms", baking ? (*state.bake_until - now).count() : 0},
      {"alarms", std::move(alarm_texts)},
      {"sides", json::object{{"rpm", side_of(state.sides[Side::rpm], service.rpm.unit, now)},
                             {"container", side_of(state.sides[Side::container], service.container.image, now)}}}};
}

}  // namespace dualdeploy::daemon
