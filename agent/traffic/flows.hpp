#pragma once

#include <boost/asio/awaitable.hpp>

#include "core/error.hpp"
#include "traffic/rules.hpp"

namespace dualdeploy::traffic {

/// Makes the kernel forget the tracked UDP flows that are not where the service's route would send them now (conntrack(8)):
/// only the first datagram of a flow is looked up in the rules, and a client that goes on talking would stay on its side for
/// ever. Flows of this host alone; what is only forwarded to a port of the same number is not ours. Nothing to do for a
/// service without UDP ports. Call it after the transaction: what begins then begins on the right side.
/// Errors: no conntrack program; it failed.
[[nodiscard]] boost::asio::awaitable<Expected<void>> forget_udp_flows(ServiceRules service);

}  // namespace dualdeploy::traffic
