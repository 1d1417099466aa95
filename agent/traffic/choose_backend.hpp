#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <memory>

#include "config/config.hpp"
#include "traffic/backend.hpp"

namespace dualdeploy::traffic {

/// The backend that is asked for; with `automatic` the first that works on this machine, nftables before iptables. Found
/// out by trying, on a loop of its own: it returns after some tens of milliseconds. Where none works, or the one asked for
/// does not, that is logged, and what is returned goes on trying.
[[nodiscard]] std::unique_ptr<Backend> choose_backend(boost::asio::any_io_executor executor, config::TrafficBackend wanted);

}  // namespace dualdeploy::traffic
