#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "core/types.hpp"

/// What somebody who starts an instance wants its services to begin with. Pure.
namespace dualdeploy::instance {

/// Routes that the instance's tag `dualdeploy-route` or a line of its user data, `#dualdeploy SERVICE=ROUTE,…`, asks for:
/// by service, "*" for all others. ROUTE is rpm, container or the container's percentage.
using InitialRoutes = std::map<std::string, Route, std::less<>>;

/// Errors name the part that is not understood.
[[nodiscard]] Expected<InitialRoutes> parse_initial_routes(std::string_view text);
/// The rest of the first line that begins with "#dualdeploy "; nothing if there is none.
[[nodiscard]] std::optional<std::string> line_in_user_data(std::string_view user_data);

}  // namespace dualdeploy::instance
