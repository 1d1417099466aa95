#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"

/// Who listens where on this host, as the kernel tells it (sock_diag(7)).
namespace dualdeploy::traffic {

/// One listening TCP socket.
struct Listener {
  bool v6 = false;           ///< An AF_INET6 socket...
  bool v6_only = false;      ///< ...which does not take IPv4.
  std::string address;       ///< What it is bound to; empty: any address.
  std::uint16_t port = 0;
  std::uint32_t inode = 0;   ///< Of the socket, as in /proc/PID/fd.
};

/// All listening TCP sockets of this network namespace.
[[nodiscard]] Expected<std::vector<Listener>> tcp_listeners();

/// Whether an open connection of this client has its server's end here, at this port: after address translation that is not
/// the port that the client asked for. An end whose client has said goodbye does not count: it lingers (TIME_WAIT, CLOSE_WAIT;
/// RFC 9293, 3.3.2) when the client's port already belongs to another connection, perhaps to another server.
[[nodiscard]] Expected<bool> connection_at(bool v6, const std::string& client_address, std::uint16_t client_port,
                                           const std::string& server_address, std::uint16_t server_port);

/// A process that has the socket open, 0 if none is found; and one that is not in `pid`'s control group or below
/// (cgroups(7)), if there is one: a stranger to the unit or the container whose main process `pid` is.
struct Holders {
  pid_t any = 0;
  pid_t stranger = 0;
};
[[nodiscard]] Holders holders_of(std::uint32_t inode, pid_t pid);
/// The same, as far as this process may look: into those of other users with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH alone.
/// holders_of() leaves it to the helper (host/helper.hpp) where there is one.
[[nodiscard]] Holders holders_seen_from_here(std::uint32_t inode, pid_t pid);

/// "nginx (4711)", as /proc has it.
[[nodiscard]] std::string describe_process(pid_t pid);

}  // namespace dualdeploy::traffic
