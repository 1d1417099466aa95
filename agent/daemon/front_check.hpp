#pragma once

#include <boost/asio/awaitable.hpp>
#include <optional>

#include "config/config.hpp"
#include "core/service.hpp"

namespace dualdeploy::daemon {

/// Whether the front answers, for a load balancer: a connection through it as a client on this host would make it,
/// unmarked, so that it follows the route. The RPM's check is what is asked where it fits the front (http on the service's
/// own port); otherwise the front has to accept, and a side that the route uses has to be healthy. Empty: it answers.
[[nodiscard]] boost::asio::awaitable<std::optional<ProbeFailure>> check_front(config::Service service, Route route,
                                                                              PerSide<Verdict> verdicts);

}  // namespace dualdeploy::daemon
