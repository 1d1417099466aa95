#include "traffic/iptables_script.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <optional>
#include <sstream>

namespace dualdeploy::traffic {
namespace {

constexpr std::string_view prefix = "dualdeploy-";
constexpr std::string_view route_comment = "route=";
constexpr std::string_view tester_comment = "tester=";
/// How long before it is written a window begins: packets already under way carry earlier times.
constexpr std::int64_t window_margin_s = 2;

const std::string trial_chain = "dualdeploy-trial";

/// Where packets come from the kernel's chains into ours.
struct Hook {
  std::string_view table;
  std::string_view chain;
  std::string_view match;
  std::string_view target;
};
constexpr Hook hooks[]{
    {"nat", "PREROUTING", "-m addrtype --dst-type LOCAL ", "dualdeploy-pre"},
    {"nat", "OUTPUT", "-m addrtype --dst-type LOCAL ", "dualdeploy-out"},
    {"filter", "INPUT", "", "dualdeploy-in"},
    {"filter", "OUTPUT", "", "dualdeploy-send"},
};
/// Holds come behind the two exemptions of -in and before what DNAT lets through.
constexpr int place_of_hold = 3;

std::string rule_of(const Hook& hook) { return fmt::format("{} {}-j {}", hook.chain, hook.match, hook.target); }

/// A chain's name has 28 characters at most: a long name of a service is cut and told apart by its hash (FNV-1a).
std::string chain_of(char kind, const std::string& service) {
  constexpr std::size_t most = 28;
  std::string chain = fmt::format("{}{}-{}", prefix, kind, service);
  if (chain.size() <= most) return chain;
  std::uint32_t hash = 2'166'136'261U;
  for (const char c : service) hash = (hash ^ static_cast<unsigned char>(c)) * 16'777'619U;
  const std::string tail = fmt::format(".{:08x}", hash);
  return chain.substr(0, most - tail.size()) + tail;
}

bool away_from_front(const ServiceRules& service) {
  return std::ranges::any_of(service.ports, [](const config::Port& port) { return port.rpm != port.front; });
}
bool in_nat(const ServiceRules& service) { return !service.planned.all_rpm() || away_from_front(service); }

std::string first_packet_to(const config::Port& port, std::uint16_t number) {
  if (port.protocol == config::Protocol::udp) return fmt::format("-p udp -m conntrack --ctstate NEW -m udp --dport {}", number);
  return fmt::format("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN --dport {}", number);
}

std::string utc(std::int64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm broken{};
  ::gmtime_r(&time, &broken);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", broken.tm_year + 1900, broken.tm_mon + 1, broken.tm_mday,
                     broken.tm_hour, broken.tm_min, broken.tm_sec);
}

/// What utc() has made of it.
std::optional<std::int64_t> unix_seconds(std::string_view text) {
  std::tm broken{};
  if (::strptime(std::string(text).c_str(), "%Y-%m-%dT%H:%M:%S", &broken) == nullptr) return std::nullopt;
  return ::timegm(&broken);
}

/// Matches from now until `left` has passed, never longer; nothing if that is less than a second. The last second of a
/// window belongs to it (xt_time.c: stamp > date_stop is outside).
std::optional<std::string> window(Milliseconds left, Moment moment) {
  const std::int64_t stop = (moment.unix_ms + left.count()) / 1'000 - 1;
  const std::int64_t now = moment.unix_ms / 1'000;
  if (left <= Milliseconds{0} || stop < now) return std::nullopt;
  return fmt::format("-m time --datestart {} --datestop {}", utc(now - window_margin_s), utc(stop));
}

Milliseconds life(const ServiceRules& service, Milliseconds lease, Moment moment) {
  if (!service.until) return lease;
  return std::clamp(std::chrono::duration_cast<Milliseconds>(*service.until - moment.now), Milliseconds{0}, lease);
}

/// The client's address, hashed and taken modulo 100: who is below 10 percent is also below 20. A program for xt_bpf
/// (linux/filter.h; MOD and XOR since Linux 3.7), which sees the packet from its network header on.
std::string sticky_match(Family family, int percent) {
  struct Instruction {
    unsigned code, jump_true, jump_false, operand;
  };
  constexpr unsigned load_word = 0x20, load_imm_mem = 0x60, store_mem = 0x02, to_x = 0x07, multiply = 0x24, xor_x = 0xac,
                     shift_right = 0x74, modulo = 0x94, jump_ge = 0x35, give = 0x06;
  std::vector<Instruction> program;
  // h = h ^ word; h *= odd constant; h ^= h >> 15 (the mixing step of common 32-bit hashes).
  const auto mix = [&](unsigned factor) {
    program.push_back({multiply, 0, 0, factor});
    program.push_back({store_mem, 0, 0, 0});
    program.push_back({shift_right, 0, 0, 15});
    program.push_back({to_x, 0, 0, 0});
    program.push_back({load_imm_mem, 0, 0, 0});
    program.push_back({xor_x, 0, 0, 0});
  };
  const unsigned first = family == Family::v4 ? 12 : 8;  // Source address: RFC 791 3.1, RFC 8200 3.
  const unsigned words = family == Family::v4 ? 1 : 4;
  for (unsigned i = 0; i < words; ++i) {
    if (i > 0) program.push_back({to_x, 0, 0, 0});
    program.push_back({load_word, 0, 0, first + 4 * i});
    if (i > 0) program.push_back({xor_x, 0, 0, 0});
    mix(0x7feb352dU);
  }
  mix(0x846ca68bU);
  program.push_back({modulo, 0, 0, 100});
  program.push_back({jump_ge, 1, 0, static_cast<unsigned>(percent)});
  program.push_back({give, 0, 0, 1});
  program.push_back({give, 0, 0, 0});
  std::string text = fmt::format("-m bpf --bytecode \"{}", program.size());
  for (const Instruction& i : program) text += fmt::format(",{} {} {} {}", i.code, i.jump_true, i.jump_false, i.operand);
  return text + "\"";
}

/// A restore script of one table under construction.
class Table {
 public:
  explicit Table(std::string_view name) : name_(name) {}
  /// Declaring a chain makes it, or empties it.
  void declare(const std::string& chain) { declared_ += ":" + chain + " - [0:0]\n"; }
  template <class... Arguments>
  void line(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    lines_ += fmt::format(format, std::forward<Arguments>(arguments)...) + "\n";
  }
  [[nodiscard]] std::string text() const {
    if (declared_.empty() && lines_.empty()) return "";
    return "*" + name_ + "\n" + declared_ + lines_ + "COMMIT\n";
  }

 private:
  std::string name_;
  std::string declared_;
  std::string lines_;
};

template <class Pick>
void dnat(Table& nat, const std::string& chain, const ServiceRules& service, const std::string& comment, const Pick& pick) {
  for (const config::Port& port : service.ports) {
    const std::string_view protocol = config::name_of(port.protocol);
    nat.line("-A {} -p {} -m {} --dport {} -m comment --comment \"{}\" -j DNAT --to-destination :{}", chain, protocol,
             protocol, port.front, comment, pick(port));
  }
}

/// The chain that holds the lease.
void fill_lease(Table& nat, const ServiceRules& service, Milliseconds lease, Moment moment) {
  const std::string chain = chain_of('s', service.name);
  nat.declare(chain);
  if (service.active && !service.planned.all_rpm()) {
    if (const auto open = window(life(service, lease, moment), moment)) {
      nat.line("-A {} {} -g {}", chain, *open, chain_of('r', service.name));
    }
  }
  if (away_from_front(service)) nat.line("-A {} -g {}", chain, chain_of('h', service.name));
}

void fill_route(Table& nat, const ServiceRules& service, Family family) {
  const std::string chain = chain_of('r', service.name);
  const std::string container = chain_of('c', service.name);
  nat.declare(chain);
  nat.declare(container);
  Route share = service.planned;
  share.testers.clear();
  dnat(nat, container, service, fmt::format("{} {}{}", service.name, route_comment, describe(share)),
       [](const config::Port& port) { return port.container; });
  for (const Network& network : service.planned.testers) {
    if (network.is_v6() != (family == Family::v6)) continue;
    nat.line("-A {} -s {} -m comment --comment \"{} {}{}\" -g {}", chain, network.text(), service.name, tester_comment,
             network.text(), container);
  }
  if (share.container_percent == 100) {
    nat.line("-A {} -g {}", chain, container);
    return;
  }
  if (share.container_percent > 0 && share.sticky) {
    nat.line("-A {} {} -g {}", chain, sticky_match(family, share.container_percent), container);
  } else if (share.container_percent > 0) {
    nat.line("-A {} -m statistic --mode random --probability 0.{:02} -g {}", chain, share.container_percent, container);
  }
  if (away_from_front(service)) nat.line("-A {} -g {}", chain, chain_of('h', service.name));
}

/// The rules that lead to the service's chain, added (-A) or deleted (-D).
void lead_to(Table& nat, const std::string& verb, const ServiceRules& service) {
  for (const config::Port& port : service.ports) {
    const std::string rule = first_packet_to(port, port.front) + " -g " + chain_of('s', service.name);
    nat.line("{} dualdeploy-pre {}", verb, rule);
    if (service.local_traffic) nat.line("{} dualdeploy-out {}", verb, rule);
  }
}

/// UDP ports whose sides only answer: a datagram from there that belongs to no flow is a late answer of a side that has
/// lost its flows, and would begin a flow of the wrong side.
template <class Pick>
void only_answers(Table& filter, const std::string& verb, const ServiceRules& service, const Pick& side_port) {
  for (const config::Port& port : service.ports) {
    if (port.protocol != config::Protocol::udp) continue;
    filter.line("{} dualdeploy-answers -p udp -m udp --sport {} -j DROP", verb, side_port(port));
  }
}
constexpr auto container_port = [](const config::Port& port) { return port.container; };
constexpr auto rpm_port = [](const config::Port& port) { return port.rpm; };

void fill_hold(Table& filter, const ServiceRules& service, Moment moment) {
  const std::string chain = chain_of('k', service.name);
  filter.declare(chain);
  const auto left = std::chrono::duration_cast<Milliseconds>(service.held_until.value_or(moment.now) - moment.now);
  const auto open = window(left, moment);
  if (!open) return;
  for (const config::Port& port : service.ports) {
    filter.line("-A {} {} {} -j DROP", chain, first_packet_to(port, port.front), *open);
  }
}

Table nat_of(const Rules& rules, Family family, Moment moment) {
  Table nat("nat");
  for (const std::string chain : {"dualdeploy-pre", "dualdeploy-out"}) {
    nat.declare(chain);
    nat.line("-A {} -m mark --mark {:#x} -j RETURN", chain, rules.probe_mark);
  }
  if (rules.probe_group) nat.line("-A dualdeploy-out -m owner --gid-owner {} -j RETURN", *rules.probe_group);
  for (const auto& [name, service] : rules.services) {
    if (!in_nat(service)) continue;
    if (away_from_front(service)) {
      nat.declare(chain_of('h', name));
      dnat(nat, chain_of('h', name), service, name + " home of the RPM", rpm_port);
    }
    if (!service.planned.all_rpm()) fill_route(nat, service, family);
    fill_lease(nat, service, rules.lease, moment);
    lead_to(nat, "-A", service);
  }
  return nat;
}

Table filter_of(const Rules& rules, Moment moment) {
  Table filter("filter");
  for (const std::string chain : {"dualdeploy-in", "dualdeploy-send", "dualdeploy-answers"}) filter.declare(chain);
  filter.line("-A dualdeploy-in -i lo -j RETURN");
  filter.line("-A dualdeploy-in -m mark --mark {:#x} -j RETURN", rules.probe_mark);
  filter.line("-A dualdeploy-send -p udp -m conntrack --ctstate NEW -j dualdeploy-answers");
  filter.line("-A dualdeploy-send ! -o lo -j RETURN");
  filter.line("-A dualdeploy-send -m mark --mark {:#x} -j RETURN", rules.probe_mark);
  if (rules.probe_group) filter.line("-A dualdeploy-send -m owner --gid-owner {} -j RETURN", *rules.probe_group);
  for (const auto& [name, service] : rules.services) {
    if (!service.held_until) continue;
    fill_hold(filter, service, moment);
    filter.line("-A dualdeploy-in -j {}", chain_of('k', name));
    filter.line("-A dualdeploy-send -j {}", chain_of('k', name));
  }
  filter.line("-A dualdeploy-in -m conntrack --ctstate DNAT -j RETURN");
  for (const auto& [name, service] : rules.services) {
    only_answers(filter, "-A", service, container_port);
    if (!service.planned.all_rpm()) only_answers(filter, "-A", service, rpm_port);
    if (!service.guard) continue;
    for (const config::Port& port : service.ports) {
      filter.line("-A dualdeploy-in {} -j DROP", first_packet_to(port, port.container));
    }
  }
  return filter;
}

void drop_jumps(Table& table, std::string_view name, const Saved& saved) {
  for (const auto& [rule, count] : saved.jumps) {
    if (!rule.starts_with(name)) continue;
    for (int i = 0; i < count; ++i) table.line("{}", rule.substr(name.size() + 1));
  }
}

/// Chains of ours that the script does not declare: emptied, then deleted.
void drop_chains(Table& table, std::string_view name, const Saved& saved, const std::string& script) {
  std::vector<std::string> leaving;
  for (const auto& [key, rules] : saved.chains) {
    if (!key.starts_with(name)) continue;
    const std::string chain = key.substr(name.size() + 1);
    if (script.find("\n:" + chain + " ") == std::string::npos) leaving.push_back(chain);
  }
  for (const std::string& chain : leaving) table.declare(chain);
  for (const std::string& chain : leaving) table.line("-X {}", chain);
}

std::string finish(Table table, std::string_view name, const Saved& saved) {
  drop_jumps(table, name, saved);
  for (const Hook& hook : hooks) {
    if (hook.table == name) table.line("-I {} 1 {}-j {}", hook.chain, hook.match, hook.target);
  }
  drop_chains(table, name, saved, table.text());
  return table.text();
}

/// A rule as iptables-save shows it, without what passes with time: a window, a counter.
std::string without_times(std::string rule) {
  for (const std::string_view word : {"--datestart ", "--datestop "}) {
    const std::size_t at = rule.find(word);
    if (at == std::string::npos) continue;
    const std::size_t end = rule.find(' ', at + word.size());
    rule.erase(at, end == std::string::npos ? end : end + 1 - at);
  }
  return rule;
}

std::string_view word_after(std::string_view rule, std::string_view option) {
  const std::size_t at = rule.find(option);
  if (at == std::string_view::npos) return {};
  rule.remove_prefix(at + option.size());
  return rule.substr(0, rule.find(' '));
}

/// "NAME route=…" between the quotes of a rule's comment.
std::string_view comment_of(std::string_view rule) {
  constexpr std::string_view option = "--comment \"";
  const std::size_t at = rule.find(option);
  if (at == std::string_view::npos) return {};
  rule.remove_prefix(at + option.size());
  return rule.substr(0, rule.find('"'));
}

bool open_at(std::string_view rule, Moment moment) {
  const std::string_view start = word_after(rule, "--datestart ");
  const std::string_view stop = word_after(rule, "--datestop ");
  const std::string now = utc(moment.unix_ms / 1'000);  // Of one length each: text compares as time does.
  return !start.empty() && start <= now && now <= stop;
}

}  // namespace

Saved parse_save(std::string_view save) {
  Saved saved;
  std::istringstream lines{std::string(save)};
  std::string table;
  std::map<std::string, int> seen;  // Rules so far, by table and chain.
  int at_their_place = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with('*')) {
      table = line.substr(1);
    } else if (table != "nat" && table != "filter") {
      continue;  // Not asked for; below, a table is told by how a key begins.
    } else if (line.starts_with(":" + std::string(prefix))) {
      saved.chains[table + " " + line.substr(1, line.find(' ') - 1)];
    } else if (line.starts_with("-A ")) {
      const std::string chain = line.substr(3, line.find(' ', 3) - 3);
      const int place = ++seen[table + " " + chain];
      if (chain.starts_with(prefix)) {
        saved.chains[table + " " + chain].push_back(line.substr(3));
        continue;
      }
      const std::string_view target = word_after(line, "-j ").empty() ? word_after(line, "-g ") : word_after(line, "-j ");
      if (!target.starts_with(prefix)) continue;
      ++saved.jumps[table + " -D " + line.substr(3)];
      for (const Hook& hook : hooks) {
        if (hook.table == table && rule_of(hook) == line.substr(3) && place == 1) ++at_their_place;
      }
    }
  }
  int jumps = 0;
  for (const auto& [rule, count] : saved.jumps) jumps += count;
  saved.first = at_their_place == static_cast<int>(std::size(hooks)) && jumps == at_their_place;
  for (const auto& [chain, rules] : saved.chains) {
    saved.fingerprint += ":" + chain + "\n";
    for (const std::string& rule : rules) saved.fingerprint += without_times(rule) + "\n";
  }
  for (const auto& [rule, count] : saved.jumps) saved.fingerprint += fmt::format("{} x {}\n", rule, count);
  saved.fingerprint += saved.first ? "first\n" : "not first\n";
  return saved;
}

std::string render_replace(const Rules& rules, Family family, const Saved& saved, Moment moment) {
  return finish(filter_of(rules, moment), "filter", saved) + finish(nat_of(rules, family, moment), "nat", saved);
}

std::string render_change(const ServiceRules& before, const ServiceRules& after, Family family, Milliseconds lease,
                          Moment moment) {
  Table filter("filter");
  Table nat("nat");
  if (after.held_until != before.held_until) {
    const std::string chain = chain_of('k', after.name);
    fill_hold(filter, after, moment);
    if (!before.held_until) {
      filter.line("-I dualdeploy-in {} -j {}", place_of_hold, chain);
      filter.line("-A dualdeploy-send -j {}", chain);
    } else if (!after.held_until) {
      filter.line("-D dualdeploy-in -j {}", chain);
      filter.line("-D dualdeploy-send -j {}", chain);
      filter.line("-X {}", chain);
    }
  }
  const bool was_redirected = !before.planned.all_rpm();
  const bool is_redirected = !after.planned.all_rpm();
  if (is_redirected && !was_redirected) only_answers(filter, "-A", after, rpm_port);
  if (!is_redirected && was_redirected) only_answers(filter, "-D", before, rpm_port);
  if (is_redirected) fill_route(nat, after, family);
  if (is_redirected || was_redirected) fill_lease(nat, after, lease, moment);
  if (!in_nat(before) && in_nat(after)) lead_to(nat, "-A", after);
  if (in_nat(before) && !in_nat(after)) lead_to(nat, "-D", before);
  if (was_redirected && !is_redirected) {
    for (const char kind : {'r', 'c'}) nat.declare(chain_of(kind, after.name));
    if (!in_nat(after)) nat.line("-X {}", chain_of('s', after.name));
    for (const char kind : {'r', 'c'}) nat.line("-X {}", chain_of(kind, after.name));
  }
  return filter.text() + nat.text();
}

std::string render_renewal(const Rules& rules, Family, Moment moment) {
  Table nat("nat");
  Table filter("filter");
  for (const auto& [name, service] : rules.services) {
    if (service.active && !service.planned.all_rpm()) fill_lease(nat, service, rules.lease, moment);
    if (service.held_until) fill_hold(filter, service, moment);
  }
  return filter.text() + nat.text();
}

std::string render_removal(const Saved& saved) {
  std::string script;
  for (const std::string_view name : {"nat", "filter"}) {
    Table table(name);
    drop_jumps(table, name, saved);
    drop_chains(table, name, saved, "");
    script += table.text();
  }
  return script;
}

bool is_home(std::string_view chain) { return chain.starts_with("nat dualdeploy-h-"); }

std::string render_way_home(const Saved& saved) {
  Table nat("nat");
  for (const auto& [key, rules] : saved.chains) {
    if (!key.starts_with("nat dualdeploy-s-")) continue;
    const std::string chain = key.substr(std::string_view("nat ").size());
    nat.declare(chain);
    for (const std::string& rule : rules) {
      if (word_after(rule, "-g ").starts_with("dualdeploy-h-")) nat.line("-A {}", rule);
    }
  }
  return nat.text();
}

std::vector<Feature> features_of(Family family) {
  const std::string to_port = "-p tcp -m tcp --dport 1 -j DNAT --to-destination :2";
  return {
      {"DNAT that keeps the address", "nat", to_port},
      {"comments", "nat", "-m comment --comment \"dualdeploy trial\" -j RETURN"},
      {"xt_time", "nat", "-m time --datestart 2020-01-01T00:00:00 --datestop 2038-01-01T00:00:00 -j RETURN"},
      {"xt_statistic", "nat", "-m statistic --mode random --probability 0.50 -j RETURN"},
      {"xt_addrtype", "nat", "-m addrtype --dst-type LOCAL -j RETURN"},
      {"xt_mark", "nat", "-m mark --mark 0x1 -j RETURN"},
      {"xt_owner", "filter", "-m owner --gid-owner 1 -j RETURN"},
      {"xt_conntrack's DNAT state", "filter", "-m conntrack --ctstate DNAT -j RETURN"},
      {"xt_bpf", "nat", sticky_match(family, 50) + " -j RETURN", true},
  };
}

std::string render_trial(const std::vector<Feature>& features) {
  std::string script;
  for (const std::string_view name : {"nat", "filter"}) {
    Table table(name);
    table.declare(trial_chain);
    for (const Feature& feature : features) {
      if (feature.table == name) table.line("-A {} {}", trial_chain, feature.rule);
    }
    script += table.text();
  }
  return script;
}

bool passed(const Saved& saved, const std::vector<Feature>& features) {
  return std::ranges::all_of(features, [&](const Feature& feature) {
    const auto chain = saved.chains.find(feature.table + " " + trial_chain);
    if (chain == saved.chains.end()) return false;
    // By the name of the match: how its options are shown is another matter in each version.
    const std::string begins = trial_chain + " " + feature.rule.substr(0, feature.rule.find(' ', std::string_view("-m ").size()) + 1);
    return std::ranges::any_of(chain->second, [&](const std::string& rule) { return rule.starts_with(begins); });
  });
}

std::string render_trial_end() {
  std::string script;
  for (const std::string_view name : {"nat", "filter"}) {
    Table table(name);
    table.declare(trial_chain);
    table.line("-X {}", trial_chain);
    script += table.text();
  }
  return script;
}

HeldPorts held_in(const Saved& saved, Moment moment) {
  HeldPorts held;
  for (const auto& [chain, rules] : saved.chains) {
    if (!chain.starts_with("filter " + std::string(prefix) + "k-")) continue;
    for (const std::string& rule : rules) {
      const std::string_view port = word_after(rule, "--dport ");
      std::uint16_t number = 0;
      const std::optional<std::int64_t> last = unix_seconds(word_after(rule, "--datestop "));
      if (std::from_chars(port.data(), port.data() + port.size(), number).ec != std::errc{} || !last || !open_at(rule, moment)) continue;
      const auto protocol = word_after(rule, " -p ") == "udp" ? config::Protocol::udp : config::Protocol::tcp;
      held[{protocol, number}] = Milliseconds{(*last + 1) * 1'000 - moment.unix_ms};
    }
  }
  return held;
}

std::map<std::string, KernelRoute> routes_of(const Saved& saved, Moment moment) {
  std::map<std::string, Route> shares;
  std::map<std::string, std::vector<Network>> testers;
  for (const auto& [chain, rules] : saved.chains) {
    for (const std::string& rule : rules) {
      const std::string_view comment = comment_of(rule);
      const std::string name(comment.substr(0, comment.find(' ')));
      const std::string_view said = comment.substr(std::min(name.size() + 1, comment.size()));
      if (said.starts_with(route_comment)) {
        if (const auto route = route_described(said.substr(route_comment.size()))) shares[name] = *route;
      } else if (said.starts_with(tester_comment)) {
        if (const auto network = Network::parse(said.substr(tester_comment.size()))) testers[name].push_back(*network);
      }
    }
  }
  std::map<std::string, KernelRoute> routes;
  for (const auto& [name, share] : shares) {
    const auto lease = saved.chains.find("nat " + chain_of('s', name));
    const bool open = saved.first && lease != saved.chains.end() &&
                      std::ranges::any_of(lease->second, [&](const std::string& rule) { return open_at(rule, moment); });
    routes[name] = KernelRoute{open ? KernelRoute::Kind::active : KernelRoute::Kind::lapsed,
                               Route::of(share.container_percent, share.sticky, std::move(testers[name]))};
  }
  return routes;
}

}  // namespace dualdeploy::traffic
