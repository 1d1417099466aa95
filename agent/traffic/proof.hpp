#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <vector>

#include "config/config.hpp"
#include "core/types.hpp"

namespace dualdeploy::traffic {

/// What a route is to be proved of.
struct ProofOf {
  std::vector<config::Port> ports;
  bool local_traffic = true;  ///< Connections made on this host are redirected too: only then they can prove the rules.
  Route route;
  PerSide<std::int64_t> pids;  ///< Main processes; 0 where unknown: then who listens is not asked.
};

/// Both are about TCP ports: a UDP port opens no connection, and who is silent there cannot be told from who is not there.

/// Before a route is applied: whether clients will find somebody, and the right one, if the container gets connections.
///
/// - Wherever the RPM listens (address family, address) the container's port is listened on too.
/// - What listens there belongs to the container (its control group), not to somebody else.
[[nodiscard]] Expected<void> inspect(const ProofOf& what);

/// Whether nobody listens on the front ports but the unit or container whose main process `pid` is, if there is one; the error
/// says who does.
[[nodiscard]] Expected<void> all_free(const std::vector<config::Port>& ports, pid_t pid = 0);

/// After it was applied: a connection to each front port on this host, IPv4 and IPv6, arrives at the port of the side
/// intended. Connections of this host take the output hook; those of clients take the prerouting hook, which leads to the
/// same chains but cannot be entered from here. The error says what arrived where. Takes at most a few seconds.
[[nodiscard]] boost::asio::awaitable<Expected<void>> prove(ProofOf what);

}  // namespace dualdeploy::traffic
