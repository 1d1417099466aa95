// Upgrade and removal of the package.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "instance/support/instance.hpp"
#include "instance/support/kernel.hpp"
#include "instance/support/load.hpp"

namespace dualdeploy::testing {
namespace {

using ::testing::HasSubstr;

TEST(Package, UpgradeUnderLoadLosesNothing) {
  const Instance instance("pkgup");
  instance.flip("container");
  instance.do_inside("echo '# mine' >> /etc/dualdeploy/agent.yaml");
  const std::string before = instance.do_inside("pidof dualdeployd");
  Load load(instance, Load::Kind::connection_per_request, 10);
  instance.rpm("-U --force /root/dualdeploy.rpm");
  instance.until("the new agent runs", [&] {
    const std::string now = instance.inside("pidof dualdeployd").output;
    return !now.empty() && now != before && instance.route() == "container";
  });
  EXPECT_EQ(load.finish().errors, "");
  EXPECT_EQ(instance.answered_by(), "container");
  EXPECT_THAT(instance.do_inside("cat /etc/dualdeploy/agent.yaml"), HasSubstr("# mine"));
}

TEST(Package, RemovalLeavesNothing) {
  const Instance instance("pkgrm");
  instance.flip("container");
  Load load(instance, Load::Kind::connection_per_request, 8);
  instance.do_inside("rpm -e dualdeploy");
  EXPECT_EQ(instance.answered_by(), "rpm");
  EXPECT_NE(instance.inside(kernel().list).status, 0);
  EXPECT_EQ(instance.inside("pidof dualdeployd").output, "");
  EXPECT_EQ(instance.inside("pgrep -f '[d]ualdeploy-sample --port 8080'").output, "");
  EXPECT_EQ(instance.inside("docker ps -aq").output, "");
  EXPECT_EQ(instance.inside("ls -d /var/lib/dualdeploy /run/dualdeploy 2>/dev/null").output, "");
  EXPECT_THAT(instance.do_inside("getent group dualdeploy dualdeploy-view dualdeploy-probe | cut -d: -f1,4"),
              "dualdeploy:\ndualdeploy-view:\ndualdeploy-probe:\n");
  EXPECT_THAT(instance.do_inside("systemctl list-unit-files 'dualdeployd*' 'dualdeploy-failsafe*' 'dualdeploy-leave*' --no-legend; systemctl --failed --no-legend"), "");
  // Connections that the container still held end with it; new ones are the RPM's.
  EXPECT_GT(load.finish().requests, 1'000);
}

}  // namespace
}  // namespace dualdeploy::testing
