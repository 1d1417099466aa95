#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <memory>

#include "traffic/backend.hpp"

namespace dualdeploy::traffic {

/// For kernels whose NAT belongs to iptables (CentOS 7). One `iptables-restore` a family and change, IPv4 first: each is
/// atomic by itself, and between the two every client is still on one side or the other.
///
/// Foreign changes are noticed by TableWatch; a wall clock that was set, by which the leases go, by ClockWatch.
[[nodiscard]] std::unique_ptr<Backend> make_iptables_backend(boost::asio::any_io_executor executor);

}  // namespace dualdeploy::traffic
