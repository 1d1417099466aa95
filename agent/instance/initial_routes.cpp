#include "instance/initial_routes.hpp"

#include <charconv>

#include "host/text.hpp"

namespace dualdeploy::instance {
namespace {

std::optional<Route> route_of(std::string_view text) {
  if (const auto side = side_named(text)) return Route::to(*side);
  if (text.ends_with('%')) text.remove_suffix(1);
  int percent = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), percent);
  if (error != std::errc{} || end != text.data() + text.size() || percent < 0 || percent > 100) return std::nullopt;
  return Route::of(percent);
}

}  // namespace

Expected<InitialRoutes> parse_initial_routes(std::string_view text) {
  InitialRoutes routes;
  while (!host::trimmed(text).empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view part = host::trimmed(text.substr(0, comma));
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    const std::size_t equals = part.find('=');
    const auto route = equals == std::string_view::npos ? std::nullopt : route_of(host::trimmed(part.substr(equals + 1)));
    const std::string_view service = host::trimmed(part.substr(0, equals));
    if (!route || service.empty()) {
      return fail(ErrorCode::usage, "expected SERVICE=rpm, SERVICE=container or SERVICE=PERCENT (SERVICE may be *), got '" +
                                        std::string(part.substr(0, 100)) + "'");
    }
    routes[std::string(service)] = *route;
  }
  return routes;
}

std::optional<std::string> line_in_user_data(std::string_view user_data) {
  constexpr std::string_view mark = "#dualdeploy ";
  while (!user_data.empty()) {
    const std::size_t end = user_data.find('\n');
    const std::string_view line = user_data.substr(0, end);
    if (line.starts_with(mark)) return std::string(host::trimmed(line.substr(mark.size())));
    user_data = end == std::string_view::npos ? std::string_view() : user_data.substr(end + 1);
  }
  return std::nullopt;
}

}  // namespace dualdeploy::instance
