#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "core/error.hpp"

/// Live TCP connections of local ports, IPv4 and IPv6, in the network namespace of the caller (sock_diag(7)). What a
/// container accepts in a network namespace of its own is not seen.
///
/// A connection is counted if a listener of this machine gave it out and its client can still send or get something:
/// ESTABLISHED, SYN_RECV (the client may already believe it is through), CLOSE_WAIT, and FIN_WAIT1, CLOSING, LAST_ACK
/// (the kernel still has the end of the answer to bring over). FIN_WAIT2 only while the process holds the socket: after
/// that everything has arrived and the kernel waits for the client's end. TIME_WAIT is over; SYN_SENT goes elsewhere.
///
/// Not counted are sockets that were bound to one of the ports and connected out. One that connected out and got its
/// port from the kernel looks like an accepted one; the kernel gives out no port that somebody listens on.
///
/// `probe_mark` is the packet mark of the agent's own health checks: connections from local sockets that carry it are
/// no clients. 0 exempts nobody. Before Linux 4.9 and without CAP_NET_ADMIN the kernel tells no marks: probes count.
///
/// All is done under one deadline of 2 s, in portions between which the loop gets its turn. A connection that comes or
/// goes meanwhile may or may not be in the result.
namespace dualdeploy::traffic {

/// How many connections clients have open to each of these local TCP ports. Every port asked for is in the result.
[[nodiscard]] boost::asio::awaitable<Expected<std::map<std::uint16_t, std::size_t>>> count_connections(
    std::vector<std::uint16_t> ports, std::uint32_t probe_mark);

/// Ends those connections at once (SOCK_DESTROY, Linux 4.5; CAP_NET_ADMIN): the process here sees ECONNABORTED, the
/// peer a reset. Where there is a listener, new ones may come at any time. Returns how many were closed, 200,000 at
/// most. Errors: `failed` if the kernel cannot do it or refuses one, `timed_out`; some may have been closed then.
[[nodiscard]] boost::asio::awaitable<Expected<std::size_t>> close_connections(std::vector<std::uint16_t> ports,
                                                                              std::uint32_t probe_mark);

/// Whether this kernel can close connections. Asked of the kernel, without closing any. It does not say whether this
/// process may (CAP_NET_ADMIN): that is looked at when there is something to close.
[[nodiscard]] Expected<void> can_close_connections();

}  // namespace dualdeploy::traffic
