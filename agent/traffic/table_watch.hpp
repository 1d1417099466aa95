#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <functional>
#include <memory>

#include "core/error.hpp"

namespace dualdeploy::traffic {

/// Notices that somebody changed iptables' tables nat and filter, IPv4 or IPv6. The kernel tells nobody, but says at the
/// cost of one system call (IPT_SO_GET_INFO, linux/netfilter_ipv4/ip_tables.h) how many rules there are, how long they
/// are and where the hooks begin: asked ten times a second. What leaves all that as it was is not noticed.
class TableWatch {
 public:
  using OnChange = std::function<void()>;
  /// Errors: no CAP_NET_ADMIN; a kernel without these tables.
  [[nodiscard]] static Expected<std::unique_ptr<TableWatch>> open(boost::asio::any_io_executor executor, OnChange on_change);
  ~TableWatch();

  /// Changes until the matching resume() are our own.
  void pause();
  void resume();

 private:
  struct Impl;
  explicit TableWatch(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace dualdeploy::traffic
