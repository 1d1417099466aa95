#include "core/types.hpp"

#include <algorithm>
#include <charconv>
#include <sstream>
#include <utility>

namespace dualdeploy {
namespace {
constexpr std::string_view testers_follow = ", testers ";
}  // namespace

std::string_view name_of(Side side) { return side == Side::rpm ? "rpm" : "container"; }

std::optional<Side> side_named(std::string_view name) {
  for (const Side side : both_sides) {
    if (name == name_of(side)) return side;
  }
  return std::nullopt;
}

Route Route::of(int container_percent, bool sticky, std::vector<Network> testers) {
  Route route;
  route.container_percent = container_percent;
  if (container_percent == 100) return route;
  route.sticky = sticky && container_percent > 0;
  std::ranges::sort(testers);
  for (const Network& network : testers) {
    const auto around = [&network](const Network& wider) { return wider != network && wider.contains(network); };
    const bool known = !route.testers.empty() && route.testers.back() == network;
    if (!known && std::ranges::none_of(testers, around)) route.testers.push_back(network);
  }
  return route;
}

std::string describe(const Route& route) {
  std::string text(name_of(route.container_percent == 0 ? Side::rpm : Side::container));
  if (route.uses(Side::rpm) && route.container_percent > 0) text += " " + std::to_string(route.container_percent) + "%";
  if (route.sticky) text += " sticky";
  if (!route.testers.empty()) text += std::string(testers_follow.substr(0, testers_follow.size() - 1));
  for (const Network& network : route.testers) text += " " + network.text();
  return text;
}

std::optional<Route> route_described(std::string_view text) {
  std::vector<Network> testers;
  if (const std::size_t comma = text.find(testers_follow); comma != std::string_view::npos) {
    std::istringstream words{std::string(text.substr(comma + testers_follow.size()))};
    for (std::string word; words >> word;) {
      const auto network = Network::parse(word);
      if (!network) return std::nullopt;
      testers.push_back(*network);
    }
    text = text.substr(0, comma);
  }
  constexpr std::string_view sticky_follows = " sticky";
  const bool sticky = text.ends_with(sticky_follows);
  if (sticky) text.remove_suffix(sticky_follows.size());
  if (const auto side = side_named(text)) return Route::of(*side == Side::container ? 100 : 0, sticky, std::move(testers));
  constexpr std::string_view prefix = "container ";
  if (!text.starts_with(prefix) || !text.ends_with('%')) return std::nullopt;
  text.remove_prefix(prefix.size());
  text.remove_suffix(1);
  int percent = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), percent);
  if (error != std::errc{} || end != text.data() + text.size() || percent < 0 || percent > 100) return std::nullopt;
  return Route::of(percent, sticky, std::move(testers));
}

std::string_view name_of(RunState state) {
  switch (state) {
    case RunState::unknown: return "unknown";
    case RunState::missing: return "missing";
    case RunState::stopped: return "stopped";
    case RunState::starting: return "starting";
    case RunState::running: return "running";
    case RunState::stopping: return "stopping";
    case RunState::failed: return "failed";
  }
  return "unknown";
}

std::string_view name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::unknown: return "unknown";
    case Verdict::healthy: return "healthy";
    case Verdict::sick: return "sick";
  }
  return "unknown";
}

}  // namespace dualdeploy
