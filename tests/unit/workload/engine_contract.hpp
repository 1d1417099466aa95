#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <string>
#include <vector>

#include "workload/engine_client.hpp"

/// What the agent needs of a container engine. Every engine is asked the same: those that can be had for real, those that
/// cannot through EngineStandIn.
namespace dualdeploy::workload::testing {

struct EngineUnderTest {
  std::string socket;
  int highest_minor = EngineClient::newest_minor;  ///< The highest API version that the client offers.
  std::string image;                               ///< Is there, with the label org.opencontainers.image.revision.
  std::string revision;                            ///< The label's value.
  std::vector<std::string> command;                ///< Runs until SIGTERM, and ends with status 0 then.
  std::function<void(std::int64_t pid)> kill;      ///< SIGKILL to a container's process.
};

/// Fails the test where the engine, or the client with it, does not do what is expected.
void expect_contract(boost::asio::io_context& loop, const EngineUnderTest& engine);

}  // namespace dualdeploy::workload::testing
