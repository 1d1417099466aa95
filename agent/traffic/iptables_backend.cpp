#include "traffic/iptables_backend.hpp"

#include <unistd.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "host/clock.hpp"
#include "host/command.hpp"
#include "host/wall_clock.hpp"
#include "traffic/iptables_script.hpp"

namespace dualdeploy::traffic {
namespace {

namespace asio = boost::asio;

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

Moment this_moment() { return Moment{host::now(), host::wall_unix_ms()}; }

/// Where both flavours are installed, the one whose rules are iptables' own: who has nf_tables uses the other backend.
std::string flavour() {
  for (const std::string directory : {"/usr/sbin/", "/sbin/"}) {
    if (::access((directory + "iptables-legacy-restore").c_str(), X_OK) == 0) return "-legacy";
  }
  return "";
}

class IptablesBackend final : public Backend {
 public:
  std::string_view name() const override { return "iptables"; }

  asio::awaitable<Expected<void>> usable() override {
    // Tried in check mode, and not concluded from an exit status alone: old versions only warn of what they do not know.
    Rules sample;
    ServiceRules service{.name = "sample", .ports = {config::Port{.front = 1, .rpm = 2, .container = 3}},
                         .planned = Route::of(50, true), .active = true};
    sample.services.emplace(service.name, service);
    for (const Family family : both_families) {
      const Saved nothing;  // Named: GCC 12 destroys temporaries of a co_await expression twice.
      std::string script = render_replace(sample, family, nothing, this_moment());
      auto checked = co_await restore(family, std::move(script), true);
      if (!checked) co_return checked;
    }
    co_return Expected<void>{};
  }

  asio::awaitable<Expected<Observed>> observe() override {
    Observed observed;
    std::map<Family, std::map<std::string, KernelRoute>> routes;
    bool everywhere = true;
    for (const Family family : both_families) {
      auto saved = co_await save(family);
      if (!saved) co_return std::unexpected(std::move(saved.error()));
      everywhere = everywhere && saved->first;
      observed.fingerprint += saved->fingerprint;
      routes[family] = routes_of(*saved, this_moment());
    }
    observed.table_present = everywhere;
    for (auto& [name, route] : routes[Family::v4]) {
      const auto other = routes[Family::v6].find(name);
      if (other == routes[Family::v6].end()) continue;
      std::vector<Network> testers = std::move(route.route.testers);
      testers.insert(testers.end(), other->second.route.testers.begin(), other->second.route.testers.end());
      route.route = Route::of(route.route.container_percent, route.route.sticky, std::move(testers));
      if (other->second.kind != KernelRoute::Kind::active) route.kind = other->second.kind;
      observed.services.emplace(name, std::move(route));
    }
    co_return observed;
  }

  asio::awaitable<Expected<void>> replace(const Rules& rules) override {
    for (const Family family : both_families) {
      auto saved = co_await save(family);
      if (!saved) co_return std::unexpected(std::move(saved.error()));
      std::string script = render_replace(rules, family, *saved, this_moment());
      auto written = co_await restore(family, std::move(script), false);
      if (!written) co_return written;
    }
    co_return Expected<void>{};
  }

  asio::awaitable<Expected<void>> change(const ServiceRules& before, const ServiceRules& after, Milliseconds lease) override {
    for (const Family family : both_families) {
      std::string script = render_change(before, after, family, lease, this_moment());
      auto written = co_await restore(family, std::move(script), false);
      if (!written) co_return written;
    }
    co_return Expected<void>{};
  }

  std::string preview(const ServiceRules& before, const ServiceRules& after, Milliseconds lease) const override {
    std::string text;
    for (const Family family : both_families) {
      text += "# " + program(family, "restore") + " --noflush\n" + render_change(before, after, family, lease, this_moment());
    }
    return text;
  }

  asio::awaitable<Expected<void>> renew(const Rules& rules) override {
    for (const Family family : both_families) {
      std::string script = render_renewal(rules, family, this_moment());
      auto written = co_await restore(family, std::move(script), false);
      if (!written) co_return written;
    }
    co_return Expected<void>{};
  }

  asio::awaitable<Expected<void>> remove() override {
    for (const Family family : both_families) {
      auto saved = co_await save(family);
      if (!saved) co_return std::unexpected(std::move(saved.error()));
      std::string script = render_removal(*saved);
      auto removed = co_await restore(family, std::move(script), false);
      if (!removed) co_return removed;
    }
    co_return Expected<void>{};
  }

  /// The kernel tells nobody of iptables' changes.
  void watch(OnForeignChange) override {}

 private:
  [[nodiscard]] std::string program(Family family, const std::string& what) const {
    return (family == Family::v4 ? "iptables" : "ip6tables") + flavour_ + "-" + what;
  }

  asio::awaitable<Expected<Saved>> save(Family family) {
    std::string text;
    for (const std::string table : {"nat", "filter"}) {
      host::Command command;
      command.argv = {program(family, "save"), "-t", table};
      const std::string program_name = command.argv.front();
      host::CommandLimits limits;
      limits.output_bytes = 16 * 1024 * 1024;
      auto result = co_await host::run_command(std::move(command), limits);
      if (!result) co_return std::unexpected(std::move(result.error()).within(program_name));
      if (result->exit_status != 0) co_return fail(program_name + ": " + first_line(result->error));
      text += result->output;
    }
    co_return parse_save(text);
  }

  asio::awaitable<Expected<void>> restore(Family family, std::string script, bool check) {
    if (script.empty()) co_return Expected<void>{};
    host::Command command;
    command.argv = {program(family, "restore"), "--noflush", "-w", "5"};
    if (check) command.argv.emplace_back("--test");
    const std::string program_name = command.argv.front();
    command.input = std::move(script);
    host::CommandLimits limits;
    limits.deadline = Milliseconds{8'000};  // Longer than the wait for the lock.
    auto result = co_await host::run_command(std::move(command), limits);
    if (!result) co_return std::unexpected(std::move(result.error()).within(program_name));
    if (result->exit_status != 0) co_return fail(program_name + ": " + first_line(result->error));
    co_return Expected<void>{};
  }

  const std::string flavour_ = flavour();
};

}  // namespace

std::unique_ptr<Backend> make_iptables_backend(asio::any_io_executor) { return std::make_unique<IptablesBackend>(); }

}  // namespace dualdeploy::traffic
