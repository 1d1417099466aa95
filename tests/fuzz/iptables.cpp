#include <algorithm>

#include "fuzz.hpp"
#include "rules.hpp"
#include "traffic/iptables_script.hpp"

/// The input is first what iptables-save may say; and then the choice of rules, whose scripts have to be read as they were meant.
namespace dualdeploy::traffic {
namespace {

using fuzz::require;

constexpr Moment moment{fuzz::now, 1'764'000'000'000};

/// A script that touches nobody else's: our chains, and the rules that were seen to lead to them.
void check_script(const std::string& script, const Saved& saved) {
  std::string_view rest = script;
  while (!rest.empty()) {
    const std::string_view line = fuzz::take_until(rest, "\n");
    const bool ours = line.starts_with(":dualdeploy-") || line.starts_with("-X dualdeploy-") || line.starts_with("-A dualdeploy-");
    const std::string command(line);
    const bool jump = line.starts_with("-D ") && (saved.jumps.contains("nat " + command) || saved.jumps.contains("filter " + command));
    require(ours || jump || line == "*nat" || line == "*filter" || line == "COMMIT", "only ours is touched", line);
  }
}

void read_listing(std::string_view text) {
  const Saved saved = parse_save(text);
  require(parse_save(text).fingerprint == saved.fingerprint, "a listing is read the same again");
  for (const auto& [name, route] : routes_of(saved, moment)) {
    require(route.route.container_percent >= 0 && route.route.container_percent <= 100, "a share is one of a hundred");
    require(saved.first || route.kind != KernelRoute::Kind::active, "behind others' rules nothing is certain");
  }
  check_script(render_removal(saved), saved);
  check_script(render_way_home(saved), saved);
  static const std::vector<Feature> features = features_of(Family::v6);
  (void)passed(saved, features);
}

/// What iptables-save shows once the script is in the kernel: a rule inserted as the first is listed first.
std::string listed(const std::string& script) {
  std::string listing;
  std::string_view rest = script;
  while (!rest.empty()) {
    std::string line(fuzz::take_until(rest, "\n"));
    if (line.starts_with("-I ")) line = "-A " + line.substr(3).replace(line.find(" 1 ") - 3, 3, " ");
    listing += line + "\n";
  }
  return listing;
}

KernelRoute meant(const ServiceRules& service, Family family) {
  std::vector<Network> testers = service.planned.testers;
  std::erase_if(testers, [&](const Network& network) { return network.is_v6() != (family == Family::v6); });
  const bool active = fuzz::is_live(service, Milliseconds{1'000});
  return {active ? KernelRoute::Kind::active : KernelRoute::Kind::lapsed,
          Route::of(service.planned.container_percent, service.planned.sticky, std::move(testers))};
}

void write_and_read(const Rules& rules) {
  for (const Family family : both_families) {
    const std::string script = render_replace(rules, family, Saved{}, moment);
    const Saved saved = parse_save(listed(script));
    require(saved.first, "ours are there, and first", script);
    const auto routes = routes_of(saved, moment);
    for (const auto& [name, service] : rules.services) {
      const auto found = routes.find(name);
      require((found != routes.end()) == !service.planned.all_rpm(), "a service has rules if it is redirected", script);
      if (found != routes.end()) require(found->second == meant(service, family), "a service is read as it is written", script);
    }
    require(routes.size() <= rules.services.size(), "nothing else is read", script);
    check_script(render_removal(saved), saved);
  }
}

}  // namespace
}  // namespace dualdeploy::traffic

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dualdeploy;
  traffic::read_listing(fuzz::as_text(data, size));
  FuzzedDataProvider bytes(data, size);
  traffic::write_and_read(fuzz::take_rules(bytes));
  return 0;
}
