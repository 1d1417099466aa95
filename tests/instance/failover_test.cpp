// The container fails in every way it can while it has the traffic.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "instance/support/instance.hpp"
#include "instance/support/load.hpp"

namespace dualdeploy::testing {
namespace {

using ::testing::HasSubstr;

class Failover : public ::testing::Test {
 protected:
  Failover() { instance.flip("container"); }

  void expect_revert(const std::string& why) const {
    instance.until("traffic on the RPM", [this] { return instance.route() == "rpm"; });
    EXPECT_EQ(instance.answered_by(), "rpm");
    EXPECT_THAT(instance.history(), HasSubstr("auto-revert"));
    EXPECT_THAT(instance.history(), HasSubstr(why));
  }

  Instance instance{"failover"};
};

TEST_F(Failover, ContainerKilled) {
  // The clock runs on the client host: from the kill to the first answer by the RPM.
  const std::string pid = instance.container_pid();
  const std::string milliseconds = shell(std::string(DD_SOURCE_DIR) + "/tests/instance/support/time_to_rpm failover " + pid).output;
  std::printf("kill -9 of the container to the first answer by the RPM: %s", milliseconds.c_str());
  expect_revert("died");
  instance.until("the engine's explanation", [this] {
    return instance.inside("dualctl history --all").output.find("exited with status 137 (SIGKILL)") != std::string::npos;
  });
  instance.until_healthy();  // The agent starts it again...
  EXPECT_EQ(instance.route(), "rpm");  // ...and does not flap back.
}

TEST_F(Failover, DockerStop) {
  instance.do_inside("docker stop dualdeploy-sample");
  expect_revert("container: ");
}

TEST_F(Failover, DockerDaemonStopped) {
  instance.do_inside("systemctl stop docker.socket docker");
  expect_revert("container: ");
}

TEST_F(Failover, DockerDaemonFrozenIsNoReason) {
  instance.do_inside("systemctl kill -s STOP --kill-who=main docker");
  Load load(instance, Load::Kind::keep_alive, 20);
  const Load::Report report = load.finish();
  EXPECT_EQ(report.errors, "") << report.text;
  EXPECT_EQ(instance.route(), "container") << instance.history();
  EXPECT_EQ(instance.answered_by(), "container");
  EXPECT_EQ(instance.health("container"), "healthy");
  // Frozen as it is, the death of the process is still seen at once.
  instance.do_inside("pkill -9 -f '[d]ualdeploy-sample --port 8080'");
  expect_revert("died");
  instance.do_inside("systemctl kill -s CONT --kill-who=main docker");
  instance.until_healthy();
}

TEST_F(Failover, CheckFails) {
  instance.do_inside("curl -s -X POST 'http://127.0.0.1:8080/switch?state=sick'");
  expect_revert("HTTP status 503");
}

TEST_F(Failover, ContainerHangs) {
  instance.do_inside("curl -s -X POST 'http://127.0.0.1:8080/switch?state=hang'");
  expect_revert("no answer within 1s");
  instance.until_healthy();  // It was restarted.
}

TEST_F(Failover, BothSickStaysAndAlarms) {
  // The RPM first, so that there is nowhere to go when the container follows.
  instance.do_inside("systemctl mask --runtime --now sample");
  instance.until("the RPM is sick", [this] { return instance.health("rpm") == "sick"; });
  instance.do_inside("curl -s -X POST 'http://127.0.0.1:8080/switch?state=sick'");
  instance.until("the container is sick", [this] { return instance.health("container") == "sick"; });
  EXPECT_EQ(instance.route(), "container");
  EXPECT_EQ(instance.answered_by(), "container");
  EXPECT_THAT(instance.do_inside("dualctl status"), HasSubstr("ALARM: both sides look sick"));
  instance.do_inside("systemctl unmask --runtime sample");
  expect_revert("HTTP status 503");  // The agent starts the unit; once it is healthy there is somewhere to go.
}

}  // namespace
}  // namespace dualdeploy::testing
