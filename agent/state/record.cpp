#include "state/record.hpp"

#include <array>
#include <boost/json.hpp>

#include "host/text.hpp"
#include "host/wall_clock.hpp"

namespace dualdeploy::state {

namespace json = boost::json;

namespace {

constexpr int format_version = 1;
/// JSON's numbers are exact up to here in every reader (RFC 8259, section 6). No record's number, no time and no id of ours
/// gets there, and there is room for the arithmetic with them.
constexpr std::int64_t greatest_number = (std::int64_t{1} << 53) - 1;

Expected<std::string> text_member(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || !value->is_string()) return fail("'" + std::string(name) + "' is missing or not a text");
  return std::string(value->get_string());
}

/// A whole number from 0 on; what is none counts as not there.
std::int64_t number_member(const json::object& object, std::string_view name, std::int64_t fallback) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || !value->is_int64()) return fallback;
  const std::int64_t number = value->get_int64();
  return number >= 0 && number <= greatest_number ? number : fallback;
}

Expected<Route> route_member(const json::object& object, std::string_view name) {
  auto text = text_member(object, name);
  if (!text) return std::unexpected(text.error());
  const auto route = route_described(*text);
  if (!route) return fail("'" + std::string(name) + "' is '" + *text + "', which is no route");
  return *route;
}

Actor actor_of(const json::object& object) {
  Actor actor;
  const json::value* member = object.if_contains("actor");
  if (member == nullptr || !member->is_object()) return actor;
  actor.uid = number_member(member->get_object(), "uid", -1);
  actor.pid = number_member(member->get_object(), "pid", 0);
  actor.user = text_member(member->get_object(), "user").value_or("unknown");
  return actor;
}

std::optional<RecordKind> kind_named(std::string_view name) {
  for (int i = 0; i <= static_cast<int>(RecordKind::alarm); ++i) {
    const auto kind = static_cast<RecordKind>(i);
    if (name_of(kind) == name) return kind;
  }
  return std::nullopt;
}

bool is_numbered(const json::object& record) {
  return number_member(record, "id", -1) >= 0;
}

}  // namespace

json::object to_json(const Actor& actor) {
  return {{"uid", actor.uid}, {"user", actor.user}, {"pid", actor.pid}};
}

json::object to_json(const StampedRecord& stamped) {
  const Record& record = stamped.record;
  json::object object{{"id", stamped.id},
                      {"at", host::format_utc(stamped.unix_ms)},
                      {"service", stamped.service},
                      {"kind", name_of(record.kind)},
                      {"change", is_change(record.kind)}};
  if (record.side) object["side"] = name_of(*record.side);
  object["actor"] = to_json(record.actor);
  if (record.from) object["from"] = describe(*record.from);
  if (record.to) object["to"] = describe(*record.to);
  if (!record.reason.empty()) object["reason"] = record.reason;
  object["result"] = name_of(record.result);
  object["message"] = record.message;
  if (record.duration) object["duration_ms"] = record.duration->count();
  return object;
}

std::optional<json::object> parse_history_line(std::string_view line) {
  boost::system::error_code error;
  json::value value = json::parse(line, error);
  if (error || !value.is_object() || !is_numbered(value.get_object())) return std::nullopt;
  return std::move(value.get_object());
}

std::uint64_t id_of(const json::object& record) { return record.at("id").to_number<std::uint64_t>(); }

namespace {

json::object object_of(const Durable& durable) {
  json::object object{{"version", format_version}, {"route", describe(durable.route)}};
  if (durable.hold) {
    object["hold"] = json::object{{"actor", to_json(durable.hold->owner)},
                                  {"reason", durable.hold->reason},
                                  {"since_unix_ms", durable.hold->since_unix_ms}};
  }
  if (durable.confirm) {
    const Confirm& confirm = *durable.confirm;
    object["confirm"] = json::object{{"back_to", describe(confirm.back_to)},
                                     {"boot_id", confirm.boot_id},
                                     {"deadline_boottime_ms", confirm.deadline.time_since_epoch().count()},
                                     {"actor", to_json(confirm.actor)}};
  }
  if (durable.intent) {
    const Intent& intent = *durable.intent;
    object["intent"] = json::object{{"kind", name_of(intent.kind)},
                                    {"from", describe(intent.from)},
                                    {"to", describe(intent.to)},
                                    {"actor", to_json(intent.actor)},
                                    {"reason", intent.reason}};
  }
  return object;
}

Expected<Durable> durable_from_json(const json::value& value) {
  if (!value.is_object()) return fail("it is not a JSON object");
  const json::object& object = value.get_object();
  if (const auto version = number_member(object, "version", 0); version != format_version) {
    return fail("its version is " + std::to_string(version) + ", this agent reads " + std::to_string(format_version));
  }
  Durable durable;
  auto route = route_member(object, "route");
  if (!route) return std::unexpected(route.error());
  durable.route = *route;
  if (const json::value* member = object.if_contains("hold"); member != nullptr) {
    if (!member->is_object()) return fail("'hold' is not an object");
    const json::object& hold = member->get_object();
    durable.hold = Hold{actor_of(hold), text_member(hold, "reason").value_or(""), number_member(hold, "since_unix_ms", 0)};
  }
  if (const json::value* member = object.if_contains("confirm"); member != nullptr) {
    if (!member->is_object()) return fail("'confirm' is not an object");
    const json::object& confirm = member->get_object();
    auto back_to = route_member(confirm, "back_to");
    if (!back_to) return std::unexpected(std::move(back_to.error()).within("confirm"));
    durable.confirm = Confirm{*back_to, text_member(confirm, "boot_id").value_or(""),
                              Instant{Milliseconds{number_member(confirm, "deadline_boottime_ms", 0)}}, actor_of(confirm)};
  }
  if (const json::value* member = object.if_contains("intent"); member != nullptr) {
    if (!member->is_object()) return fail("'intent' is not an object");
    const json::object& intent = member->get_object();
    auto from = route_member(intent, "from");
    if (!from) return std::unexpected(std::move(from.error()).within("intent"));
    auto to = route_member(intent, "to");
    if (!to) return std::unexpected(std::move(to.error()).within("intent"));
    durable.intent = Intent{kind_named(text_member(intent, "kind").value_or("")).value_or(RecordKind::flip), *from, *to,
                            actor_of(intent), text_member(intent, "reason").value_or("")};
  }
  return durable;
}

}  // namespace

Expected<Saved> parse_state(std::string_view text) {
  boost::system::error_code error;
  json::value value = json::parse(text, error);
  if (error) return fail("it is not JSON: " + error.message());
  auto durable = durable_from_json(value);
  if (!durable) return std::unexpected(std::move(durable.error()));
  Saved saved{std::move(*durable), {}};
  json::value* record = value.get_object().if_contains("record");
  if (record != nullptr && record->is_object() && is_numbered(record->get_object())) saved.record = std::move(record->get_object());
  return saved;
}

std::string print_state(const Durable& durable, const std::optional<StampedRecord>& record) {
  json::object object = object_of(durable);
  if (record) object["record"] = to_json(*record);
  return host::json_text(object) + "\n";
}

}  // namespace dualdeploy::state
