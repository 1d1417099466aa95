#pragma once

#include "core/error.hpp"

namespace dualdeploy::traffic {

/// Keeps the kernel tracking connections and translating their addresses while somebody else flushes all rules.
///
/// Connections to the container live on both. The kernel stops translating, also for connections that exist, when the
/// last NAT chain goes (nf_nat_unregister_fn), and stops tracking when the last rule that needs it goes
/// (nf_ct_netns_put); until our rules were back, packets would reach the RPM, which would reset their connections. A table
/// that is owned by a process (NFT_TABLE_F_OWNER, Linux 5.12) is not flushed by others: one with a NAT chain and one rule
/// that reads the connection's state is enough, and it goes with the process.
class NatKeeper {
 public:
  /// Errors: a kernel without owned tables; no CAP_NET_ADMIN.
  [[nodiscard]] static Expected<NatKeeper> open();

  NatKeeper(NatKeeper&& from) noexcept;
  NatKeeper(const NatKeeper&) = delete;
  NatKeeper& operator=(const NatKeeper&) = delete;
  NatKeeper& operator=(NatKeeper&&) = delete;
  ~NatKeeper();

 private:
  explicit NatKeeper(int socket) : socket_(socket) {}
  int socket_;
};

}  // namespace dualdeploy::traffic
