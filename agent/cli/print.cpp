#include "cli/print.hpp"

#include <boost/json.hpp>

#include "core/printable.hpp"
#include "core/time.hpp"

namespace dualdeploy::cli {

namespace json = boost::json;

namespace {

/// As it came: of several lines, and nothing of strangers in it.
std::string lines(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || value->is_null()) return "";
  return value->is_string() ? std::string(value->get_string()) : json::serialize(*value);
}
/// For a terminal, whoever wrote it.
std::string text(const json::object& object, std::string_view name) { return printable(lines(object, name)); }
std::int64_t number(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr) return 0;
  if (value->is_int64()) return value->get_int64();
  return value->is_uint64() ? static_cast<std::int64_t>(value->get_uint64()) : 0;
}
const json::object* member(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value == nullptr ? nullptr : value->if_object();
}
const json::array* list(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value == nullptr ? nullptr : value->if_array();
}

enum class Colour { plain, red, green, yellow, bold };

std::string coloured(const std::string& what, Colour colour, const Style& style) {
  if (!style.colour || what.empty()) return what;
  switch (colour) {
    case Colour::red: return "\033[31m" + what + "\033[0m";
    case Colour::green: return "\033[32m" + what + "\033[0m";
    case Colour::yellow: return "\033[33m" + what + "\033[0m";
    case Colour::bold: return "\033[1m" + what + "\033[0m";
    case Colour::plain: return what;
  }
  return what;
}

std::string padded(std::string what, std::size_t width) {
  if (what.size() < width) what.append(width - what.size(), ' ');
  return what;
}

/// "850ms", "12s", "3m 5s", "2h 10m", "4d 3h": exact enough for people.
std::string age(std::int64_t milliseconds) {
  if (milliseconds < 1'000) return std::to_string(milliseconds) + "ms";
  const std::int64_t seconds = milliseconds / 1'000;
  if (seconds < 60) return std::to_string(seconds) + "s";
  if (seconds < 3'600) return std::to_string(seconds / 60) + "m " + std::to_string(seconds % 60) + "s";
  if (seconds < 86'400) return std::to_string(seconds / 3'600) + "h " + std::to_string(seconds / 60 % 60) + "m";
  return std::to_string(seconds / 86'400) + "d " + std::to_string(seconds / 3'600 % 24) + "h";
}

Colour colour_of_health(const std::string& health) {
  if (health == "healthy") return Colour::green;
  return health == "sick" ? Colour::red : Colour::yellow;
}

void print_alarms(const json::object& object, const std::string& indent, const Style& style, std::string& out) {
  const json::array* alarms = list(object, "alarms");
  if (alarms == nullptr) return;
  for (const json::value& alarm : *alarms) {
    if (alarm.is_string()) out += indent + coloured("ALARM: " + printable(alarm.get_string()), Colour::red, style) + "\n";
  }
}

std::string print_side(const std::string& side, const json::object& about, bool detailed, const Style& style) {
  const std::string health = text(about, "health");
  std::string line = "  " + padded(side, 10) + coloured(padded(health, 8), colour_of_health(health), style);
  if (health != "unknown") line += " for " + padded(age(number(about, "since_ms")), 8);
  line += " " + text(about, "state");
  if (number(about, "pid") != 0) line += ", pid " + std::to_string(number(about, "pid"));
  line += "  " + text(about, "name") + "\n";
  const std::string indent(12, ' ');
  if (!text(about, "detail").empty()) line += indent + text(about, "detail") + "\n";
  if (!text(about, "last_operation_error").empty()) line += indent + "last start: " + text(about, "last_operation_error") + "\n";
  const json::object* failure = member(about, "last_failure");
  if (failure != nullptr && (detailed || health != "healthy")) {
    line += indent + "last failure " + age(number(*failure, "ago_ms")) + " ago: " + text(*failure, "reason");
    if (!text(*failure, "excerpt").empty()) line += ": " + text(*failure, "excerpt");
    line += "\n";
  }
  if (!detailed) return line;
  if (!text(about, "artifact").empty()) line += indent + "artifact " + text(about, "artifact") + "\n";
  if (!text(about, "revision").empty()) line += indent + "revision " + text(about, "revision") + "\n";
  line += indent + "started by the agent " + std::to_string(number(about, "restarts")) + " times\n";
  return line;
}

}  // namespace

std::string print_service(const json::object& service, bool detailed, const Style& style) {
  std::string ports;
  if (const json::array* array = list(service, "ports")) {
    for (const json::value& value : *array) {
      const json::object* port = value.if_object();
      if (port == nullptr) continue;
      ports += (ports.empty() ? "" : ", ") + std::to_string(number(*port, "front")) + "/" + text(*port, "protocol") + " (rpm " +
               std::to_string(number(*port, "rpm")) + ", container " + std::to_string(number(*port, "container")) + ")";
    }
  }
  std::string out = coloured(text(service, "name"), Colour::bold, style) + "  port " + ports + "\n";
  const json::object empty;
  const json::object* route = member(service, "route");
  if (route == nullptr) route = &empty;
  const std::string effective = text(*route, "effective");
  const std::string intended = text(*route, "intended");
  out += "  route     " + coloured(effective, Colour::bold, style);
  if (effective != intended) out += coloured(" (intended: " + intended + ")", Colour::yellow, style);
  if (!text(*route, "why").empty()) out += coloured(": " + text(*route, "why"), Colour::yellow, style);
  if (number(service, "bake_left_ms") > 0) out += ", bake window " + age(number(service, "bake_left_ms")) + " left";
  out += "\n";
  if (const json::object* connections = member(service, "connections")) {
    out += "  open      rpm " + text(*connections, "rpm") + ", container " + text(*connections, "container") + " connections";
    if (const json::object* drain = member(service, "drain")) {
      out += "; " + text(*drain, "side") + " drains since " + age(number(*drain, "since_ms"));
      if (!text(*drain, "closes_in_ms").empty()) out += ", closed in " + age(number(*drain, "closes_in_ms"));
    }
    out += "\n";
  }
  if (const json::object* change = member(service, "change")) {
    out += "  change    " + text(*change, "kind") + " to " + text(*change, "to") + " by " + text(*change, "user") + ", " +
           text(*change, "phase") + " for " + age(number(*change, "since_ms")) + "\n";
  }
  if (const json::object* hold = member(service, "hold")) {
    out += coloured("  hold      ", Colour::yellow, style) + "by " + text(*hold, "user") + " since " + text(*hold, "since") +
           ": " + text(*hold, "reason") + "\n";
  }
  if (const json::object* confirm = member(service, "confirm")) {
    out += coloured("  confirm   ", Colour::yellow, style) + "within " + age(number(*confirm, "left_ms")) + ", or back to " +
           text(*confirm, "back_to") + ": dualctl confirm " + text(service, "name") + "\n";
  }
  print_alarms(service, "  ", style, out);
  if (const json::object* sides = member(service, "sides")) {
    for (const char* side : {"rpm", "container"}) {
      if (const json::object* about = member(*sides, side)) out += print_side(side, *about, detailed, style);
    }
  }
  return out;
}

namespace {

/// Which instance this is, where that is known, and whether load balancers are told to leave it.
std::string print_instance(const json::object& status, const Style& style) {
  const json::object* instance = member(status, "instance");
  if (instance == nullptr) return "";
  std::string out;
  const std::string id = text(*instance, "id");
  const std::string sealed = text(*instance, "sealed_at");
  if (!id.empty()) out += "instance " + id;
  if (!sealed.empty()) out += (id.empty() ? "" : ", ") + ("of an image sealed at " + sealed);
  if (!out.empty()) out += "\n";
  if (text(*instance, "metadata") == "unknown") {
    out += coloured("the metadata service cannot be asked", Colour::yellow, style) + ": " + text(*instance, "trouble") + "\n";
  }
  if (const json::object* leaving = member(*instance, "leaving")) {
    out += coloured("LEAVING", Colour::yellow, style) + " for " + age(number(*leaving, "since_ms")) + ": " + text(*leaving, "why") + "\n";
  }
  return out;
}

}  // namespace

std::string print_status(const json::object& status, const Style& style) {
  std::string out = "dualdeployd " + text(status, "version") + ", " + text(status, "backend") + ", lease " +
                    format_duration(Milliseconds{number(status, "lease_ms")});
  if (const json::object* drift = member(status, "drift"); drift != nullptr && number(*drift, "repairs") > 0) {
    out += ", rules repaired " + std::to_string(number(*drift, "repairs")) + " times (last " + text(*drift, "last") + ")";
  }
  out += "\n" + print_instance(status, style);
  print_alarms(status, "", style, out);
  const json::array* services = list(status, "services");
  if (services == nullptr || services->empty()) return out + "no services; see /etc/dualdeploy/services.d\n";
  for (const json::value& service : *services) {
    if (service.is_object()) out += "\n" + print_service(service.get_object(), false, style);
  }
  return out;
}

std::string print_change(const std::string& service, const json::object& result) {
  std::string out = service + ": " + text(result, "message");
  if (number(result, "duration_ms") > 0) out += " (" + std::to_string(number(result, "duration_ms")) + " ms)";
  return out + "\n";
}

std::string print_dry_run(const json::object& result, const Style& style) {
  std::string out = text(result, "service") + ": " + text(result, "message") + "\n";
  if (const json::array* guards = list(result, "guards")) {
    for (const json::value& value : *guards) {
      const json::object* guard = value.if_object();
      if (guard == nullptr) continue;
      const bool passed = text(*guard, "passed") == "true";
      out += "  " + coloured(padded(passed ? "passes" : "FAILS", 8), passed ? Colour::green : Colour::red, style) +
             padded(text(*guard, "guard"), 9) + text(*guard, "text") + "\n";
    }
  }
  if (const json::object* connections = member(result, "connections")) {
    out += "  open connections stay where they are: rpm " + text(*connections, "rpm") + ", container " + text(*connections, "container") + "\n";
  }
  const std::string transaction = lines(result, "transaction");
  out += transaction.empty() ? "the kernel holds this already\n" : "the kernel transaction:\n" + transaction;
  return out;
}

std::string print_drain(const json::object& result) {
  return text(result, "service") + ": " + text(result, "message") + " (rpm " + text(result, "rpm") + ", container " +
         text(result, "container") + ")\n";
}

std::string print_record(const json::object& record, const Style& style) {
  const std::string result = text(record, "result");
  std::string line = text(record, "at") + "  " + padded(text(record, "service").empty() ? "-" : text(record, "service"), 8) + " " +
                     padded(text(record, "kind"), 11) + " ";
  const Colour colour = result == "done" ? Colour::plain : (result == "refused" ? Colour::yellow : Colour::red);
  if (!text(record, "side").empty()) line += text(record, "side") + ": ";
  if (!text(record, "to").empty() && text(record, "from") != text(record, "to")) {
    line += (text(record, "from").empty() ? "" : text(record, "from") + " ") + "-> " + text(record, "to") + " ";
  }
  if (result != "done") line += coloured(result, colour, style) + " ";
  if (!text(record, "duration_ms").empty()) line += "in " + text(record, "duration_ms") + " ms ";
  const json::object* actor = member(record, "actor");
  if (actor != nullptr && number(*actor, "uid") >= 0) line += "by " + text(*actor, "user") + " ";
  line += coloured(text(record, "message"), colour, style);
  if (!text(record, "reason").empty()) line += " [" + text(record, "reason") + "]";
  return line;
}

}  // namespace dualdeploy::cli
