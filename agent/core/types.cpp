#include "core/types.hpp"

#include <charconv>

namespace dualdeploy {

std::string_view name_of(Side side) { return side == Side::rpm ? "rpm" : "container"; }

std::optional<Side> side_named(std::string_view name) {
  for (const Side side : both_sides) {
    if (name == name_of(side)) return side;
  }
  return std::nullopt;
}

std::string describe(const Route& route) {
  if (route.container_percent == 0) return "rpm";
  if (route.container_percent == 100) return "container";
  return "container " + std::to_string(route.container_percent) + "%";
}

std::optional<Route> route_described(std::string_view text) {
  if (const auto side = side_named(text)) return Route::to(*side);
  constexpr std::string_view prefix = "container ";
  if (!text.starts_with(prefix) || !text.ends_with('%')) return std::nullopt;
  text.remove_prefix(prefix.size());
  text.remove_suffix(1);
  int percent = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), percent);
  if (error != std::errc{} || end != text.data() + text.size() || percent < 0 || percent > 100) return std::nullopt;
  return Route{percent};
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
