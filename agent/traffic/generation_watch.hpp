#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/error.hpp"

namespace dualdeploy::traffic {

/// The number of the rule set as it is now in this network namespace (NFT_MSG_GETGEN in linux/netfilter/nf_tables.h): every
/// committed transaction makes another. Errors: no nftables, no CAP_NET_ADMIN.
[[nodiscard]] Expected<std::uint32_t> nftables_generation();

/// Tells of every committed nftables transaction in this network namespace.
class GenerationWatch {
 public:
  struct Generation {
    std::uint32_t port_id = 0;  ///< Netlink port of who committed it: its pid, as seen here. 0: events were lost.
    std::string program;        ///< Its name, as the kernel gives it.
    std::uint32_t number = 0;   ///< Of the rule set since then.
  };
  using OnGeneration = std::function<void(const Generation&)>;

  /// Errors: no netlink socket for nftables (kernel without it, no CAP_NET_ADMIN).
  [[nodiscard]] static Expected<std::unique_ptr<GenerationWatch>> open(boost::asio::any_io_executor executor,
                                                                       OnGeneration on_generation);
  ~GenerationWatch();

 private:
  struct Impl;
  explicit GenerationWatch(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace dualdeploy::traffic
