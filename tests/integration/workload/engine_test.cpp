#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <filesystem>

#include "instance/support/shell.hpp"
#include "workload/engine_contract.hpp"

/// The contract with real engines, which have the sample's image: run it as root in an instance. Those that cannot be had
/// are played in unit/workload/engine_client_test.cpp.
namespace dualdeploy::workload::testing {
namespace {

struct Engine {
  std::string name;
  std::string socket;
  int highest_minor;
};

void PrintTo(const Engine& engine, std::ostream* out) { *out << engine.name; }

class RealEngine : public ::testing::TestWithParam<Engine> {};

TEST_P(RealEngine, KeepsTheContract) {
  const auto& [name, socket, highest_minor] = GetParam();
  if (::geteuid() != 0 || !std::filesystem::is_socket(socket)) GTEST_SKIP() << "needs root and an engine at " << socket;
  const std::string revision = dualdeploy::testing::shell("dualdeploy-sample --version").output;
  boost::asio::io_context loop;
  expect_contract(loop, {.socket = socket,
                         .highest_minor = highest_minor,
                         .image = "dualdeploy-sample:latest",
                         .revision = revision.substr(0, revision.find('\n')),
                         .command = {"--side", "container", "--port", "8099"},
                         .kill = [](std::int64_t pid) {
                           ASSERT_GT(pid, 1);
                           ASSERT_EQ(::kill(static_cast<pid_t>(pid), SIGKILL), 0);
                         }});
}

// An engine answers an older client as the engines of its time did, as far as it can.
INSTANTIATE_TEST_SUITE_P(Of, RealEngine,
                         ::testing::Values(Engine{"Docker", "/run/docker.sock", EngineClient::newest_minor},
                                           Engine{"DockerAsApi_1_26", "/run/docker.sock", 26},
                                           Engine{"DockerAsApi_1_24", "/run/docker.sock", 24},
                                           Engine{"Podman", "/run/podman/podman.sock", EngineClient::newest_minor}),
                         [](const auto& given) { return given.param.name; });

}  // namespace
}  // namespace dualdeploy::workload::testing
