#include <algorithm>
#include <boost/json.hpp>
#include <map>
#include <sstream>

#include "fuzz.hpp"
#include "rules.hpp"
#include "traffic/nft_script.hpp"

/// The input is first what `nft -j list table` may say; and then the choice of rules and of changes to them, whose scripts
/// have to be taken by the kernel and read as they were meant.
namespace dualdeploy::traffic {
namespace {

using fuzz::require;
namespace json = boost::json;

/// A kernel that takes the commands of our scripts, and refuses what nft 1.0.6 would.
class Kernel {
 public:
  void take(const std::string& script) {
    std::istringstream lines(script);
    bool inside_table = false;  // Hooks, maps and sets: always the same, and named as they are used.
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("table ")) inside_table = true;
      if (!inside_table) command(line);
      if (line == "}") inside_table = false;
    }
    for (const auto& [name, elements] : maps_) {
      for (const auto& [key, chain] : elements) require(chain.empty() || chains_.contains(chain), "an element leads to a chain that is there", script);
    }
  }

  [[nodiscard]] std::string listing() const {
    json::array entries{json::object{{"metainfo", json::object{{"version", "1.0.6"}}}}};
    for (const auto& [name, elements] : maps_) {
      json::array elem;
      for (const auto& [key, chain] : elements) elem.push_back(json::array{key, json::object{{"goto", {{"target", chain}}}}});
      entries.push_back(json::object{{"map", {{"name", name}, {"elem", std::move(elem)}}}});
    }
    for (const auto& [chain, comments] : chains_) {
      for (const std::string& comment : comments) entries.push_back(json::object{{"rule", {{"chain", chain}, {"comment", comment}}}});
    }
    return json::serialize(json::object{{"nftables", std::move(entries)}});
  }

 private:
  void command(const std::string& line) {
    std::istringstream words(line);
    std::string verb, kind, family, table, name;
    words >> verb >> kind >> family >> table >> name;
    require(family + " " + table == table_name, "only our table", line);
    if (kind == "table") {
      if (verb == "delete") *this = Kernel();
    } else if (kind == "element") {
      element(verb, name, line);
    } else if (kind == "rule") {
      rule(verb, name, line);
    } else if (kind == "chain") {
      chain(verb, name, line);
    } else {
      require(false, "a command of ours", line);
    }
  }

  void element(const std::string& verb, const std::string& map, const std::string& line) {
    std::string_view rest = line;
    fuzz::take_until(rest, "{ ");
    std::string_view body = fuzz::take_until(rest, " }");
    const std::size_t colon = body.find(" : goto ");
    const std::string target(colon == std::string_view::npos ? "" : body.substr(colon + 8));
    const std::string key(body.substr(0, std::min({colon, body.find(" timeout "), body.size()})));
    require(!key.empty(), "an element has a key", line);
    if (verb == "delete") {
      require(maps_[map].erase(key) == 1, "only what is there is deleted", line);
      return;
    }
    const auto [at, is_new] = maps_[map].emplace(key, target);
    require(is_new || at->second == target, "an element is added once, or the same again", line);
  }

  void rule(const std::string& verb, const std::string& name, const std::string& line) {
    require(verb == "add" && chains_.contains(name), "a rule is added to a chain that is there", line);
    constexpr std::string_view option = " comment \"";
    const std::size_t at = line.find(option);
    const std::string comment = at == std::string::npos ? "" : line.substr(at + option.size(), line.size() - at - option.size() - 1);
    require(comment.size() <= 128, "a comment has 128 bytes at most", line);  // NFTNL_UDATA_COMMENT_MAXLEN
    chains_[name].push_back(comment);
  }

  void chain(const std::string& verb, const std::string& name, const std::string& line) {
    require(verb == "add" || chains_.contains(name), "the chain is there", line);
    if (verb == "add") chains_[name];
    if (verb == "flush") chains_[name].clear();
    if (verb != "delete") return;
    require(chains_[name].empty(), "a chain is empty before it goes", line);
    chains_.erase(name);
  }

  std::map<std::string, std::map<std::string, std::string>> maps_;  ///< Sets, too: their elements lead nowhere.
  std::map<std::string, std::vector<std::string>> chains_;          ///< The comments of their rules.
};

void read_listing(std::string_view text) {
  const auto observed = parse_listing(text);
  if (!observed) {
    require(!observed.error().message.empty(), "a refusal has a reason");
    return;
  }
  for (const auto& [name, route] : observed->services) {
    require(route.route.container_percent >= 0 && route.route.container_percent <= 100, "a share is one of a hundred");
  }
  require(parse_listing(text)->fingerprint == observed->fingerprint, "a listing is read the same again");
}

void check(const Kernel& kernel, const Rules& rules) {
  const std::string listing = kernel.listing();
  const auto observed = parse_listing(listing);
  require(observed && observed->table_present, "what is written can be read");
  for (const auto& [name, service] : rules.services) {
    const auto found = observed->services.find(name);
    require((found != observed->services.end()) == !service.planned.all_rpm(), "a service has rules if it is redirected", name);
    if (found == observed->services.end()) continue;
    const bool active = fuzz::is_live(service, Milliseconds{1});
    require(found->second == KernelRoute{active ? KernelRoute::Kind::active : KernelRoute::Kind::lapsed, service.planned},
            "a service is read as it is written", listing);
  }
  require(observed->services.size() <= rules.services.size(), "nothing else is read", listing);
}

void write_and_read(Rules rules, FuzzedDataProvider& bytes) {
  Kernel kernel;
  kernel.take(render_table(rules, fuzz::now));
  check(kernel, rules);
  for (auto& [name, service] : rules.services) {
    const ServiceRules before = service;
    fuzz::change(service, bytes);
    kernel.take(render_change(before, service, rules.lease, fuzz::now));
    check(kernel, rules);
    kernel.take(render_renewal(rules, fuzz::now));
    check(kernel, rules);
  }
}

}  // namespace
}  // namespace dualdeploy::traffic

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dualdeploy;
  traffic::read_listing(fuzz::as_text(data, size));
  FuzzedDataProvider bytes(data, size);
  traffic::write_and_read(fuzz::take_rules(bytes), bytes);
  return 0;
}
