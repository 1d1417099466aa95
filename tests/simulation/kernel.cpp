#include "simulation/kernel.hpp"

#include <algorithm>

namespace dualdeploy::simulation {

namespace {
/// As in agent/traffic/iptables_script.cpp.
constexpr std::int64_t window_margin_s = 2;
}  // namespace

std::optional<Kernel::Window> Kernel::window(Milliseconds left) const {
  if (left <= 0ms) return std::nullopt;
  const std::int64_t now_s = time_.wall_ms() / 1'000;
  const std::int64_t last_s = (time_.wall_ms() + left.count()) / 1'000 - 1;
  if (backend_ == Backend::iptables && last_s < now_s) return std::nullopt;
  return Window{time_.now() + left, now_s - window_margin_s, last_s};
}

bool Kernel::open(const std::optional<Window>& window) const {
  if (!table_ || !window) return false;
  if (backend_ == Backend::nftables) return time_.now() < window->end;
  const std::int64_t now_s = time_.wall_ms() / 1'000;
  return window->first_second <= now_s && now_s <= window->last_second;
}

std::optional<Kernel::Window> Kernel::redirect_of(const ServiceRules& rules) const {
  if (!rules.active || rules.planned.all_rpm()) return std::nullopt;
  if (!rules.until) return window(lease);
  return window(std::clamp(std::chrono::duration_cast<Milliseconds>(*rules.until - time_.now()), 0ms, lease));
}

std::optional<Kernel::Window> Kernel::hold_of(const ServiceRules& rules) const {
  if (!rules.held_until) return std::nullopt;
  return window(std::chrono::duration_cast<Milliseconds>(*rules.held_until - time_.now()));
}

Milliseconds Kernel::left(const Window& window) const {
  if (backend_ == Backend::iptables) return Milliseconds{(window.last_second + 1) * 1'000 - time_.wall_ms()};
  return std::chrono::floor<std::chrono::seconds>(window.end - time_.now());  // As nft lists it.
}

Route Kernel::route(std::size_t service) const {
  const Entry& entry = entries_[service];
  return open(entry.redirect) ? entry.planned : Route{};
}

bool Kernel::held(std::size_t service) const { return open(entries_[service].hold); }

KernelRoute Kernel::seen(std::size_t service) const {
  const Entry& entry = entries_[service];
  if (!table_) return {KernelRoute::Kind::no_table, {}};
  const Milliseconds held = open(entry.hold) ? left(*entry.hold) : 0ms;
  if (entry.planned.all_rpm()) return {KernelRoute::Kind::none, {}, held};
  return {open(entry.redirect) ? KernelRoute::Kind::active : KernelRoute::Kind::lapsed, entry.planned, held};
}

void Kernel::write(std::size_t service, const ServiceRules& rules) {
  Entry& entry = entries_[service];
  entry.planned = rules.planned;
  entry.redirect = redirect_of(rules);
  entry.until = entry.redirect ? rules.until : std::nullopt;
  entry.hold = hold_of(rules);
}

void Kernel::write_all(const std::vector<ServiceRules>& rules) {
  table_ = true;
  for (std::size_t service = 0; service < rules.size(); ++service) write(service, rules[service]);
}

void Kernel::renew(const std::vector<ServiceRules>& rules) {
  for (std::size_t service = 0; service < rules.size(); ++service) {
    if (rules[service].active) entries_[service].redirect = redirect_of(rules[service]);
    if (rules[service].held_until && backend_ == Backend::iptables) entries_[service].hold = hold_of(rules[service]);
  }
}

bool Kernel::holds(std::size_t service, const ServiceRules& rules) const {
  const bool active = rules.active && !rules.planned.all_rpm();
  return table_ && entries_[service].planned == rules.planned && open(entries_[service].redirect) == active;
}

bool Kernel::holds(const std::vector<ServiceRules>& rules) const {
  for (std::size_t service = 0; service < rules.size(); ++service) {
    if (!holds(service, rules[service])) return false;
  }
  return true;
}

void Kernel::clear() {
  table_ = false;
  std::ranges::fill(entries_, Entry{});
}

}  // namespace dualdeploy::simulation
