#include "traffic/iptables_backend.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/clock.hpp"
#include "host/clock_watch.hpp"
#include "host/command.hpp"
#include "host/text.hpp"
#include "host/wall_clock.hpp"
#include "traffic/iptables_script.hpp"
#include "traffic/nat_keeper.hpp"
#include "traffic/table_watch.hpp"

namespace dualdeploy::traffic {
namespace {

namespace asio = boost::asio;

Moment this_moment() { return Moment{host::now(), host::wall_unix_ms()}; }

/// Whether the kernel has the table at all: asking iptables-save would make it.
bool loaded(Family family, const std::string& table) {
  std::ifstream names(family == Family::v4 ? "/proc/net/ip_tables_names" : "/proc/net/ip6_tables_names");
  for (std::string name; std::getline(names, name);) {
    if (name == table) return true;
  }
  return false;
}

/// Where both flavours are installed, the one whose rules are iptables' own: who has nf_tables uses the other backend.
std::string flavour() { return host::is_installed("iptables-legacy-restore") ? "-legacy" : ""; }

class IptablesBackend final : public Backend {
 public:
  std::string_view name() const override { return "iptables"; }
  bool installed() const override { return host::is_installed(program(Family::v4, "restore")); }

  explicit IptablesBackend(asio::any_io_executor executor) : executor_(std::move(executor)) {}

  asio::awaitable<Expected<void>> usable() override {
    host::Command command;
    command.argv = {program(Family::v4, "restore"), "--version"};
    auto version = co_await host::run_command(std::move(command));
    if (!version) co_return std::unexpected(std::move(version.error()));
    if (version->output.find("nf_tables") != std::string::npos) {
      co_return fail("the iptables installed here write nftables rules: the backend for them is nftables");
    }
    for (const Family family : both_families) {
      const std::vector<Feature> all = features_of(family);
      auto all_there = co_await tried(family, all);
      if (!all_there) co_return std::unexpected(std::move(all_there.error()));
      if (*all_there) continue;
      for (const Feature& feature : all) {
        std::vector<Feature> alone{feature};
        auto there = co_await tried(family, std::move(alone));
        if (!there) co_return std::unexpected(std::move(there.error()));
        if (*there) continue;
        const std::string lacking = "iptables on this kernel lacks " + feature.what + (family == Family::v6 ? " for IPv6" : "");
        if (!feature.for_sticky_only) co_return fail(lacking);
        cannot_stick_ = lacking + ", by which sticky shares are made";
        spdlog::info("{}: they will be refused", cannot_stick_);
      }
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
      observed.held.merge(held_in(*saved, this_moment()));
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
      auto written = co_await restore(family, std::move(script));
      if (!written) co_return written;
    }
    co_return Expected<void>{};
  }

  asio::awaitable<Expected<void>> change(const ServiceRules& before, const ServiceRules& after, Milliseconds lease) override {
    if (after.planned.sticky && !cannot_stick_.empty()) co_return fail(cannot_stick_);
    for (const Family family : both_families) {
      std::string script = render_change(before, after, family, lease, this_moment());
      auto written = co_await restore(family, std::move(script));
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
      auto written = co_await restore(family, std::move(script));
      if (!written) co_return written;
    }
    co_return Expected<void>{};
  }

  asio::awaitable<Expected<void>> remove() override {
    for (const Family family : both_families) {
      auto saved = co_await save(family);
      if (!saved) co_return std::unexpected(std::move(saved.error()));
      std::string script = render_removal(*saved);
      auto removed = co_await restore(family, std::move(script));
      if (!removed) co_return removed;
    }
    co_return Expected<void>{};
  }

  asio::awaitable<Expected<std::string>> rescue() override {
    std::string done;
    for (const Family family : both_families) {
      auto saved = co_await save(family);
      if (!saved) co_return std::unexpected(std::move(saved.error()));
      if (saved->chains.empty() && saved->jumps.empty()) continue;
      const bool has_homes = std::ranges::any_of(saved->chains, [](const auto& chain) { return is_home(chain.first); });
      std::string script = has_homes ? render_way_home(*saved) : render_removal(*saved);
      auto written = co_await restore(family, std::move(script));
      if (!written) co_return std::unexpected(std::move(written.error()));
      done = has_homes ? "redirects removed (rules that lead to an RPM off its front port stay)" : "chains dualdeploy-* removed";
    }
    co_return done;
  }

  void watch(Notices notices) override {
    notices_ = std::move(notices);
    // Where it cannot be (Linux before 5.12) the kernel goes on translating as long as iptables' modules are loaded.
    if (auto keeper = NatKeeper::open()) keeper_.emplace(std::move(*keeper));
    if (auto tables = TableWatch::open(executor_, [this] { notices_.foreign_change("somebody"); })) {
      tables_ = std::move(*tables);
    } else {
      spdlog::warn("{}; foreign rule changes are only found by the periodic check", tables.error().message);
    }
    if (auto clock = host::ClockWatch::open(executor_, [this] { notices_.leases_shifted(); })) {
      clock_ = std::move(*clock);
    } else {
      spdlog::warn("{}; leases that ended because it was set are only found by the periodic check", clock.error().message);
    }
  }

 private:
  [[nodiscard]] std::string program(Family family, const std::string& what) const {
    return (family == Family::v4 ? "iptables" : "ip6tables") + flavour_ + "-" + what;
  }

  asio::awaitable<Expected<Saved>> save(Family family) {
    std::string text;
    for (const std::string table : {"nat", "filter"}) {
      if (!loaded(family, table)) continue;
      host::Command command;
      command.argv = {program(family, "save"), "-t", table};
      const std::string program_name = command.argv.front();
      host::CommandLimits limits;
      limits.output_bytes = 16 * 1024 * 1024;
      auto result = co_await host::run_command(std::move(command), limits);
      if (!result) co_return std::unexpected(std::move(result.error()).within(program_name));
      if (result->exit_status != 0) co_return fail(program_name + ": " + host::first_line(result->error));
      text += result->output;
    }
    co_return parse_save(text);
  }

  asio::awaitable<Expected<void>> restore(Family family, std::string script) {
    if (script.empty()) co_return Expected<void>{};
    host::Command command;
    command.argv = {program(family, "restore"), "--noflush", "-w", "5"};
    const std::string program_name = command.argv.front();
    command.input = std::move(script);
    host::CommandLimits limits;
    limits.deadline = Milliseconds{8'000};  // Longer than the wait for the lock.
    if (tables_) tables_->pause();
    auto result = co_await host::run_command(std::move(command), limits);
    if (tables_) tables_->resume();
    if (!result) co_return std::unexpected(std::move(result.error()).within(program_name));
    if (result->exit_status != 0) co_return fail(program_name + ": " + host::first_line(result->error));
    co_return Expected<void>{};
  }

  /// Puts the rules into chains that nothing leads to, and looks whether they are there.
  asio::awaitable<Expected<bool>> tried(Family family, std::vector<Feature> features) {
    auto made = co_await restore(family, render_trial(features));
    auto saved = co_await save(family);
    if (!saved) co_return std::unexpected(std::move(saved.error()));
    auto cleaned = co_await restore(family, render_trial_end());
    if (!cleaned) co_return std::unexpected(std::move(cleaned.error()));
    co_return made && passed(*saved, features);
  }

  asio::any_io_executor executor_;
  const std::string flavour_ = flavour();
  std::string cannot_stick_;  ///< Why, if so.
  Notices notices_;
  std::optional<NatKeeper> keeper_;
  std::unique_ptr<TableWatch> tables_;
  std::unique_ptr<host::ClockWatch> clock_;
};

}  // namespace

std::unique_ptr<Backend> make_iptables_backend(asio::any_io_executor executor) {
  return std::make_unique<IptablesBackend>(std::move(executor));
}

}  // namespace dualdeploy::traffic
