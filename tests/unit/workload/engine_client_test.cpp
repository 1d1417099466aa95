#include "workload/engine_client.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <cstdlib>
#include <filesystem>

#include "support_loop.hpp"
#include "workload/engine_contract.hpp"
#include "workload/engine_stand_in.hpp"

namespace dualdeploy::workload::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class EngineClientTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/dualdeploy-engine-XXXXXX";
    directory = ::mkdtemp(name);
    socket = directory + "/engine.sock";
  }
  void TearDown() override { std::filesystem::remove_all(directory); }

  std::string ping_failure() {
    EngineClient client(loop.get_executor(), socket);
    auto outcome = dualdeploy::testing::run(loop, client.ping());
    return outcome ? "" : outcome.error().message;
  }

  boost::asio::io_context loop;
  std::string directory;
  std::string socket;
};

struct Case {
  Dialect dialect;
  std::string version;  ///< That is agreed on.
};

void PrintTo(const Case& which, std::ostream* out) { *out << which.dialect.name; }

class EngineDialect : public EngineClientTest, public ::testing::WithParamInterface<Case> {};

TEST_P(EngineDialect, KeepsTheContract) {
  const auto& [dialect, version] = GetParam();
  EngineStandIn engine(loop, socket, dialect);
  expect_contract(loop, {.socket = socket,
                         .image = EngineStandIn::image,
                         .revision = EngineStandIn::revision,
                         .command = {"--port", "8080"},
                         .kill = [&](std::int64_t) { engine.process_killed(); }});
  EXPECT_EQ(engine.version_used(), version);
}

INSTANTIATE_TEST_SUITE_P(
    Of, EngineDialect,
    ::testing::Values(Case{{.name = "Docker_1_13", .newest = 26, .oldest = 12}, "/v1.26"},
                      Case{{.name = "ErrorsInPlainText", .newest = 26, .oldest = 12, .plain_errors = true}, "/v1.26"},
                      Case{{.name = "ASilentPing", .newest = 30, .oldest = 12, .ping_tells = false}, "/v1.30"},
                      Case{{.name = "Docker_29_0", .newest = 52, .oldest = 44, .old_event_names = false}, "/v1.52"},
                      Case{{.name = "ANewerDocker", .newest = 60, .oldest = 40, .old_event_names = false}, "/v1.52"},
                      Case{{.name = "EventsInPieces", .newest = 41, .pieces = true}, "/v1.41"},
                      Case{{.name = "Podman", .newest = 41, .oldest = 24, .died = "died", .exit_code = "containerExitCode", .late_header = true},
                           "/v1.41"}),
    [](const auto& given) { return given.param.dialect.name; });

TEST_F(EngineClientTest, AnEngineThatIsTooOldOrTooNewIsNamedWithItsVersions) {
  {
    const EngineStandIn old(loop, socket, {.name = "old", .newest = 22, .oldest = 12});
    EXPECT_THAT(ping_failure(), AllOf(HasSubstr(socket), HasSubstr("speaks API 1.12 to 1.22; this agent speaks 1.24 to 1.52")));
  }
  const EngineStandIn young(loop, socket, {.name = "young", .newest = 80, .oldest = 60});
  EXPECT_THAT(ping_failure(), HasSubstr("speaks API 1.60 to 1.80; this agent speaks 1.24 to 1.52"));
}

TEST_F(EngineClientTest, AnEngineThatIsReplacedIsNegotiatedWithAgain) {
  EngineClient client(loop.get_executor(), socket);
  auto docker = std::make_unique<EngineStandIn>(loop, socket, Dialect{.name = "20.10", .newest = 41});
  EXPECT_TRUE(dualdeploy::testing::run(loop, client.inspect_container("x")));
  EXPECT_EQ(docker->version_used(), "/v1.41");
  docker.reset();
  const auto none = dualdeploy::testing::run(loop, client.inspect_container("x"));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::unreachable);
  EXPECT_THAT(none.error().message, AllOf(HasSubstr(socket), HasSubstr("cannot be reached")));
  docker = std::make_unique<EngineStandIn>(loop, socket, Dialect{.name = "29", .newest = 52, .oldest = 44});
  EXPECT_TRUE(dualdeploy::testing::run(loop, client.inspect_container("x")));
  EXPECT_EQ(docker->version_used(), "/v1.52");
}

TEST_F(EngineClientTest, NoEngine) { EXPECT_THAT(ping_failure(), AllOf(HasSubstr(socket), HasSubstr("No such file"))); }

}  // namespace
}  // namespace dualdeploy::workload::testing
