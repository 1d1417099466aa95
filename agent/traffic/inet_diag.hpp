#pragma once

#include <linux/inet_diag.h>

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

/// What is said to the kernel, and by it, over NETLINK_SOCK_DIAG (sock_diag(7), linux/inet_diag.h) about TCP sockets.
/// Bytes to records and back; no I/O.
namespace dualdeploy::traffic::inet_diag {

/// One end of a connection. An IPv4 address is written as IPv4-mapped (RFC 4291, 2.5.5.2), so that the two ends of one
/// connection agree whether or not either is an IPv6 socket.
struct End {
  std::array<std::uint8_t, 16> address{};
  std::uint16_t port = 0;
  bool operator==(const End&) const = default;
  std::strong_ordering operator<=>(const End& other) const {  // libc++ 16 has none for arrays.
    const int order = std::memcmp(address.data(), other.address.data(), address.size());
    return order != 0 ? order <=> 0 : port <=> other.port;
  }
};

/// A TCP socket as the kernel tells of it.
struct Socket {
  End local;
  End remote;
  std::uint8_t family = 0;  ///< AF_INET or AF_INET6. An IPv4-mapped socket is told of once, as AF_INET6.
  std::uint8_t state = 0;   ///< TCP_ESTABLISHED and so on (netinet/tcp.h).
  std::uint32_t inode = 0;  ///< As in /proc/PID/fd; 0 if no process holds it.
  bool v6_only = false;     ///< A listener of AF_INET6 that does not take IPv4. Not told before Linux 4.2: then false.
  inet_diag_sockid id{};    ///< The kernel's own name of it, with a cookie that no later socket has.
  /// By a process: not one the kernel finishes alone or has not handed out yet.
  [[nodiscard]] bool held() const { return inode != 0; }
};

/// The ends of connections to local `ports` that a listener gave out, in states in which a client can still send or get
/// something. With many ports more may be told of than were asked for.
[[nodiscard]] std::string list_served(std::uint32_t sequence, std::uint8_t family, std::vector<std::uint16_t> ports);
/// The ends, in any state, of connections from sockets with this packet mark to `ports`, here or elsewhere. Answered
/// with EINVAL before Linux 4.9 and with EPERM without CAP_NET_ADMIN.
[[nodiscard]] std::string list_marked(std::uint32_t sequence, std::uint8_t family, std::vector<std::uint16_t> ports,
                                      std::uint32_t mark);
/// All listeners.
[[nodiscard]] std::string list_listeners(std::uint32_t sequence, std::uint8_t family);
/// The socket of one connection, or the listener that would take it; answered with ENOENT if there is neither.
[[nodiscard]] std::string find(std::uint32_t sequence, std::uint8_t family, const End& local, const End& remote);
/// A list of nothing: the answer tells whether this kernel lists TCP sockets at all.
[[nodiscard]] std::string list_nothing(std::uint32_t sequence);
/// Ends one connection. Answered with 0; ENOENT or ESTALE if it is gone; EOPNOTSUPP (before Linux 4.5: EINVAL) if this
/// kernel cannot.
[[nodiscard]] std::string destroy(std::uint32_t sequence, const Socket& socket);

/// One datagram from the kernel.
struct Answer {
  std::vector<Socket> sockets;
  std::vector<int> verdicts;  ///< An errno for each acknowledgement or error, 0 for success.
  bool done = false;          ///< The list is complete.
  bool interrupted = false;   ///< The list is not consistent (NLM_F_DUMP_INTR).
  bool malformed = false;     ///< Short or contradictory; what came before the bad place is there.

  /// The first errno among the verdicts, 0 if there is none.
  [[nodiscard]] int refusal() const;
};
/// Messages of another sequence number are left out: late answers to what was asked before.
[[nodiscard]] Answer parse(std::string_view bytes, std::uint32_t sequence);

}  // namespace dualdeploy::traffic::inet_diag
