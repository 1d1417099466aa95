#pragma once

#include <string>
#include <string_view>

#include "core/error.hpp"
#include "traffic/rules.hpp"

/// The nftables rule set as text (nft(8) syntax) and back. Pure: leases are rendered as what is left of them at `now`.
///
/// One table `inet dualdeploy`:
///   maps  redirects, redirects_local   protocol . front port -> goto service chain; each element lives as long as its
///                                      lease (clients; connections made on this host)
///   maps  homes, homes_local           the same without a lease, only for services whose RPM is not on the front port
///   set   guarded                      the containers' ports, dark from outside
///   chain service-NAME                 one a service that is (to be) redirected: testers, then the container's share
///   chain container-NAME               dnat to the container's ports. The address is kept, so that a connection to a
///                                      second address stays there.
///   chain home-NAME                    dnat to the RPM's ports, where these are not the front ports
///   set   held                         front ports that let nobody in for the moment, each as long as its lease
///   set   answering                    UDP ports of sides that may only answer, and chain answers, which drops the rest
///   chains prerouting, output, guard,
///          hold, hold_local            hooks; the same few rules for any number of services
namespace dualdeploy::traffic {

inline constexpr std::string_view table_name = "inet dualdeploy";

/// A script that replaces the whole table in one transaction.
[[nodiscard]] std::string render_table(const Rules& rules, Instant now);

/// A script that brings one service from `before` to `after`.
[[nodiscard]] std::string render_change(const ServiceRules& before, const ServiceRules& after, Milliseconds lease,
                                        Instant now);

/// A script that renews all leases; empty if nothing is redirected.
[[nodiscard]] std::string render_renewal(const Rules& rules, Instant now);

/// Reads `nft -j list table inet dualdeploy`.
[[nodiscard]] Expected<Observed> parse_listing(std::string_view json);

}  // namespace dualdeploy::traffic
