#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <optional>
#include <sys/types.h>

#include "config/config.hpp"
#include "core/types.hpp"

namespace dualdeploy::health {

/// How the agent's own packets are told from the clients', so that a check of the RPM on the front port is never
/// answered by the container: SO_MARK (socket(7)) for http and tcp, the group of the socket's owner for exec.
struct ProbeIdentity {
  std::uint32_t mark = 0;
  std::optional<gid_t> group;
};

/// Runs one check once, to its deadline at most (`check.timeout`). Empty: it passed.
[[nodiscard]] boost::asio::awaitable<std::optional<ProbeFailure>> probe(config::Check check, std::uint16_t default_port,
                                                                       ProbeIdentity identity);

}  // namespace dualdeploy::health
