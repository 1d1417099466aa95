#include "traffic/nft_script.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <boost/json.hpp>
#include <set>

namespace dualdeploy::traffic {
namespace {

namespace json = boost::json;

constexpr std::string_view route_comment = "route=";
constexpr std::string_view tester_comment = "tester=";
constexpr std::string_view container_chain_prefix = "container-";

std::string service_chain(const std::string& name) { return "service-" + name; }
std::string container_chain(const std::string& name) { return std::string(container_chain_prefix) + name; }
std::string home_chain(const std::string& name) { return "home-" + name; }

std::string key(const config::Port& port) {
  return std::string(config::name_of(port.protocol)) + " . " + std::to_string(port.front);
}

bool away_from_front(const ServiceRules& service) {
  return std::ranges::any_of(service.ports, [](const config::Port& port) { return port.rpm != port.front; });
}

/// How long the redirect lives from `now` unless it is renewed: the lease, but never past the service's deadline.
/// 0: it is over.
Milliseconds life(const ServiceRules& service, Milliseconds lease, Instant now) {
  if (!service.until) return lease;
  return std::clamp(std::chrono::duration_cast<Milliseconds>(*service.until - now), Milliseconds{0}, lease);
}

/// The rules of a chain that sends each front port to the port that `backend` picks. The first rule's comment tells a
/// later agent (and a person) what the chain means.
template <class Pick>
std::string dnat_rules(const ServiceRules& service, const std::string& chain, const Pick& backend,
                       const std::string& comment) {
  std::string text;
  for (const config::Port& port : service.ports) {
    text += "add rule " + std::string(table_name) + " " + chain + " " + std::string(config::name_of(port.protocol)) +
            " dport " + std::to_string(port.front) + " dnat to :" + std::to_string(backend(port)) + " comment \"" +
            comment + "\"\n";
  }
  return text;
}

/// `numgen` draws for each connection; `jhash` is the same for a client as long as the seed is: whoever is below 10 percent
/// is also below 20.
std::string share_of_container(const ServiceRules& service, const std::string& add_rule, const std::string& verdict) {
  const std::string below = " < " + std::to_string(service.planned.container_percent) + " " + verdict;
  if (!service.planned.sticky) return add_rule + "numgen random mod 100" + below;
  const std::string seed = " saddr mod 100 seed 0x6475616c";
  return add_rule + "jhash ip" + seed + below + add_rule + "jhash ip6" + seed + below;
}

/// The service's chain decides for a connection; the container's chain sends it there.
std::string fill_service_chain(const ServiceRules& service) {
  const std::string table(table_name);
  const std::string chain = service_chain(service.name);
  const std::string to_container = container_chain(service.name);
  const std::string add_rule = "add rule " + table + " " + chain + " ";
  const std::string goto_container = "goto " + to_container + "\n";
  Route share = service.planned;
  share.testers.clear();

  std::string text;
  for (const std::string& name : {to_container, chain}) {
    text += "add chain " + table + " " + name + "\nflush chain " + table + " " + name + "\n";
  }
  text += dnat_rules(service, to_container, [](const config::Port& port) { return port.container; },
                     std::string(route_comment) + describe(share));
  for (const Network& network : service.planned.testers) {
    text += add_rule + (network.is_v6() ? "ip6" : "ip") + " saddr " + network.text() + " goto " + to_container + " comment \"" +
            std::string(tester_comment) + network.text() + "\"\n";
  }
  if (share.container_percent == 100) {
    text += add_rule + goto_container;
  } else {
    if (share.container_percent > 0) text += share_of_container(service, add_rule, goto_container);
    if (away_from_front(service)) text += add_rule + "goto " + home_chain(service.name) + "\n";
  }
  return text;
}

std::string remove_service_chain(const ServiceRules& service) {
  std::string text;
  for (const std::string& chain : {service_chain(service.name), container_chain(service.name)}) {
    const std::string at = std::string(table_name) + " " + chain + "\n";
    text += "flush chain " + at + "delete chain " + at;
  }
  return text;
}

template <class Visit>
void for_each_map(const ServiceRules& service, const std::string& map, const Visit& visit) {
  visit(map);
  if (service.local_traffic) visit(map + "_local");
}

/// Elements are added before they are deleted, so that a lease that has just ended is no error.
std::string remove_elements(const ServiceRules& service) {
  std::string text;
  for_each_map(service, "redirects", [&](const std::string& map) {
    for (const config::Port& port : service.ports) {
      const std::string element = std::string(table_name) + " " + map + " { " + key(port);
      text += "add element " + element + " : goto " + service_chain(service.name) + " }\n";
      text += "delete element " + element + " }\n";
    }
  });
  return text;
}

std::string add_elements(const ServiceRules& service, Milliseconds lease, Instant now) {
  std::string text;
  const Milliseconds left = life(service, lease, now);
  if (left <= Milliseconds{0}) return text;
  for_each_map(service, "redirects", [&](const std::string& map) {
    for (const config::Port& port : service.ports) {
      text += "add element " + std::string(table_name) + " " + map + " { " + key(port) + " timeout " + std::to_string(left.count()) +
              "ms : goto " + service_chain(service.name) + " }\n";
    }
  });
  return text;
}

std::string add_home(const ServiceRules& service) {
  const std::string chain = home_chain(service.name);
  std::string text = "add chain " + std::string(table_name) + " " + chain + "\n" +
                     dnat_rules(service, chain, [](const config::Port& port) { return port.rpm; }, "home of the RPM");
  for_each_map(service, "homes", [&](const std::string& map) {
    for (const config::Port& port : service.ports) {
      text += "add element " + std::string(table_name) + " " + map + " { " + key(port) + " : goto " + chain + " }\n";
    }
  });
  return text;
}

std::string add_guard(const ServiceRules& service) {
  std::string text;
  for (const config::Port& port : service.ports) {
    text += "add element " + std::string(table_name) + " guarded { " + std::string(config::name_of(port.protocol)) +
            " . " + std::to_string(port.container) + " }\n";
  }
  return text;
}

/// UDP ports whose sides only answer: a datagram from there that belongs to no flow is a late answer of a side that has lost
/// its flows. It would reach the client from a port that it has never asked, and begin a flow of the wrong side.
template <class Pick>
std::string change_answering(const ServiceRules& service, const std::string& verb, const Pick& side_port) {
  std::string text;
  for (const config::Port& port : service.ports) {
    if (port.protocol != config::Protocol::udp) continue;
    text += verb + " element " + std::string(table_name) + " answering { udp . " + std::to_string(side_port(port)) + " }\n";
  }
  return text;
}
constexpr auto container_port = [](const config::Port& port) { return port.container; };
constexpr auto rpm_port = [](const config::Port& port) { return port.rpm; };

/// The front ports of a service that lets nobody in for the moment.
std::string change_hold(const ServiceRules& service, Instant now) {
  std::string text;
  const Milliseconds left = service.held_until ? std::chrono::duration_cast<Milliseconds>(*service.held_until - now) : Milliseconds{0};
  for (const config::Port& port : service.ports) {
    const std::string element = std::string(table_name) + " held { " + key(port);
    text += "add element " + element + " }\ndelete element " + element + " }\n";
    if (left > Milliseconds{0}) text += "add element " + element + " timeout " + std::to_string(left.count()) + "ms }\n";
  }
  return text;
}

std::string skeleton(const Rules& rules) {
  const std::string own = "meta mark " + std::to_string(rules.probe_mark) + " return";
  const std::string own_group =
      rules.probe_group ? "    meta skgid " + std::to_string(*rules.probe_group) + " return\n" : "";
  // Only a SYN chooses a side: a connection older than these rules, picked up mid-stream by connection tracking, is
  // never moved.
  const std::string first_packet = "tcp flags & (fin | syn | rst | ack) == syn";
  const std::string by_port = " meta l4proto . th dport ";
  const auto dispatch = [&](const std::string& map) {
    return "    " + first_packet + by_port + "vmap @" + map + "\n    meta l4proto udp" + by_port + "vmap @" + map + "\n";
  };
  const auto hook = [&](const std::string& name, const std::string& suffix) {
    return "  chain " + name + " {\n    type nat hook " + name + " priority -110; policy accept;\n    " + own + "\n" +
           (name == "output" ? own_group : "") + "    fib daddr type != local return\n" + dispatch("redirects" + suffix) +
           dispatch("homes" + suffix) + "  }\n";
  };
  std::string text = "table " + std::string(table_name) + " {\n";
  for (const std::string suffix : {"", "_local"}) {
    text += "  map redirects" + suffix + " { type inet_proto . inet_service : verdict; flags timeout; }\n";
    text += "  map homes" + suffix + " { type inet_proto . inet_service : verdict; }\n";
  }
  text += "  set held { type inet_proto . inet_service; flags timeout; }\n  set guarded { type inet_proto . inet_service; }\n  set answering { type inet_proto . inet_service; }\n";
  text += hook("prerouting", "") + hook("output", "_local");
  text += "  chain guard {\n    type filter hook input priority -10; policy accept;\n    iif lo return\n    " + own +
          "\n    ct status dnat return\n    " + first_packet + by_port + "@guarded drop\n    meta l4proto udp ct state new" + by_port +
          "@guarded drop\n  }\n";
  const std::string hold = "    " + first_packet + by_port + "@held drop\n    meta l4proto udp ct state new" + by_port + "@held drop\n  }\n";
  text += "  chain hold {\n    type filter hook input priority -15; policy accept;\n    iif lo return\n    " + own + "\n" + hold;
  text += "  chain hold_local {\n    type filter hook output priority -15; policy accept;\n    oif != lo return\n    " + own + "\n" + own_group + hold;
  text += "  chain answers {\n    type filter hook output priority -10; policy accept;\n"
          "    meta l4proto udp ct state new meta l4proto . th sport @answering drop\n  }\n}\n";
  return text;
}

/// Volatile parts out, order of elements fixed: two listings of the same rules become the same text.
void normalise(json::value& value) {
  if (json::object* object = value.if_object()) {
    for (const char* volatile_key : {"handle", "expires", "timeout", "index"}) object->erase(volatile_key);
    for (auto& member : *object) normalise(member.value());
  } else if (json::array* array = value.if_array()) {
    for (json::value& element : *array) normalise(element);
  }
}

void sort_elements(json::object& map) {
  json::value* elements = map.if_contains("elem");
  if (elements == nullptr || !elements->is_array()) return;
  std::vector<std::string> sorted;
  for (const json::value& element : elements->get_array()) sorted.push_back(json::serialize(element));
  std::ranges::sort(sorted);
  json::array joined;
  for (const std::string& element : sorted) joined.emplace_back(element);
  *elements = std::move(joined);
}

std::string_view text_of(const json::object& object, std::string_view member) {
  const json::value* value = object.if_contains(member);
  return value != nullptr && value->is_string() ? std::string_view(value->get_string()) : std::string_view();
}

/// The chains that the elements of a verdict map lead to, one for each element.
std::vector<std::string> targets_of(const json::object& map) {
  std::vector<std::string> chains;
  const json::value* elements = map.if_contains("elem");
  if (elements == nullptr || !elements->is_array()) return chains;
  for (const json::value& element : elements->get_array()) {
    const json::array* pair = element.if_array();
    if (pair == nullptr || pair->size() != 2 || !pair->at(1).is_object()) continue;
    const json::value* jump = pair->at(1).get_object().if_contains("goto");
    if (jump != nullptr && jump->is_object()) chains.emplace_back(text_of(jump->get_object(), "target"));
  }
  return chains;
}

/// The elements of the set `held` and the time they have left: {"elem": {"val": {"concat": ["tcp", 80]}, "expires": 9}}.
void read_held(const json::object& set, Observed& observed) {
  const json::value* elements = set.if_contains("elem");
  if (elements == nullptr || !elements->is_array()) return;
  for (const json::value& element : elements->get_array()) {
    boost::system::error_code missing;
    const json::value* protocol = element.find_pointer("/elem/val/concat/0", missing);
    const json::value* number = element.find_pointer("/elem/val/concat/1", missing);
    const json::value* seconds = element.find_pointer("/elem/expires", missing);
    if (protocol == nullptr || number == nullptr || seconds == nullptr) continue;
    boost::system::error_code port_error;
    boost::system::error_code left_error;
    const auto port = number->to_number<std::uint16_t>(port_error);
    const auto left = seconds->to_number<std::int32_t>(left_error);
    if (port_error || left_error) continue;
    // A number where nft does not find a name (protocols(5)).
    const bool udp = *protocol == json::value(name_of(config::Protocol::udp)) || *protocol == json::value(IPPROTO_UDP);
    const bool tcp = *protocol == json::value(name_of(config::Protocol::tcp)) || *protocol == json::value(IPPROTO_TCP);
    if (!udp && !tcp) continue;
    observed.held[{udp ? config::Protocol::udp : config::Protocol::tcp, port}] = std::chrono::seconds(left);
  }
}

/// What a rule's comment says of a service's route.
void read_comment(std::string_view chain, std::string_view comment, std::map<std::string, Route>& routes,
                  std::map<std::string, std::vector<Network>>& testers) {
  if (chain.starts_with(container_chain_prefix) && comment.starts_with(route_comment)) {
    const auto route = route_described(comment.substr(route_comment.size()));
    if (route) routes[std::string(chain.substr(container_chain_prefix.size()))] = *route;
  } else if (constexpr std::string_view prefix = "service-"; chain.starts_with(prefix) && comment.starts_with(tester_comment)) {
    if (const auto network = Network::parse(comment.substr(tester_comment.size()))) {
      testers[std::string(chain.substr(prefix.size()))].push_back(*network);
    }
  }
}

}  // namespace

std::string render_table(const Rules& rules, Instant now) {
  const std::string table(table_name);
  std::string text = "add table " + table + "\ndelete table " + table + "\n" + skeleton(rules);
  for (const auto& [name, service] : rules.services) {
    if (service.guard) text += add_guard(service);
    text += change_answering(service, "add", container_port);
    if (service.held_until) text += change_hold(service, now);
    if (away_from_front(service)) text += add_home(service);
    if (service.planned.all_rpm()) continue;
    text += fill_service_chain(service) + change_answering(service, "add", rpm_port);
    if (service.active) text += add_elements(service, rules.lease, now);
  }
  return text;
}

std::string render_change(const ServiceRules& before, const ServiceRules& after, Milliseconds lease, Instant now) {
  std::string text;
  if (after.held_until != before.held_until) text += change_hold(after, now);
  if (after.planned.all_rpm()) {
    if (before.planned.all_rpm()) return text;
    if (before.active) text += remove_elements(before);
    return text + remove_service_chain(before) + change_answering(before, "delete", rpm_port);
  }
  text += fill_service_chain(after) + change_answering(after, "add", rpm_port);
  if (before.active || after.active) text += remove_elements(after);
  if (after.active) text += add_elements(after, lease, now);
  return text;
}

std::string render_renewal(const Rules& rules, Instant now) {
  std::string text;
  for (const auto& [name, service] : rules.services) {
    if (!service.active || service.planned.all_rpm()) continue;
    text += remove_elements(service) + add_elements(service, rules.lease, now);
  }
  return text;
}

Expected<Observed> parse_listing(std::string_view listing) {
  boost::system::error_code error;
  json::value document = json::parse(listing, error);
  const json::value* entries = error || !document.is_object() ? nullptr : document.get_object().if_contains("nftables");
  if (entries == nullptr || !entries->is_array()) return fail("nft's listing is not the JSON it should be");

  Observed observed;
  observed.table_present = true;
  std::map<std::string, Route> routes;  // By service.
  std::map<std::string, std::vector<Network>> testers;
  std::set<std::string> live_chains;
  for (const json::value& entry : entries->get_array()) {
    if (!entry.is_object()) continue;
    if (const json::value* rule = entry.get_object().if_contains("rule"); rule != nullptr && rule->is_object()) {
      read_comment(text_of(rule->get_object(), "chain"), text_of(rule->get_object(), "comment"), routes, testers);
    } else if (const json::value* map = entry.get_object().if_contains("map"); map != nullptr && map->is_object()) {
      if (text_of(map->get_object(), "name") != "redirects") continue;
      for (std::string& chain : targets_of(map->get_object())) live_chains.insert(std::move(chain));
    } else if (const json::value* set = entry.get_object().if_contains("set"); set != nullptr && set->is_object()) {
      if (text_of(set->get_object(), "name") == "held") read_held(set->get_object(), observed);
    }
  }
  for (const auto& [name, share] : routes) {
    const bool live = live_chains.contains(service_chain(name));
    observed.services[name] = KernelRoute{live ? KernelRoute::Kind::active : KernelRoute::Kind::lapsed,
                                          Route::of(share.container_percent, share.sticky, std::move(testers[name]))};
  }

  normalise(document);
  for (json::value& entry : document.get_object().at("nftables").get_array()) {
    if (!entry.is_object()) continue;
    json::object& object = entry.get_object();
    if (object.if_contains("metainfo") != nullptr) continue;
    for (const char* kind : {"map", "set"}) {
      if (json::value* set = object.if_contains(kind); set != nullptr && set->is_object()) sort_elements(set->get_object());
    }
    observed.fingerprint += json::serialize(entry) + "\n";
  }
  return observed;
}

}  // namespace dualdeploy::traffic
