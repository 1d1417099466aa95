// Reboots and power cuts.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "instance/support/instance.hpp"

namespace dualdeploy::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Boot, RouteAtTheContainerComesBackOnceItIsHealthy) {
  const Instance instance("bootroute");
  instance.flip("container");
  instance.reboot();
  instance.until("the container has the traffic again", [&] { return instance.answered_by() == "container"; });
  EXPECT_THAT(instance.history(), HasSubstr("restore"));
}

TEST(Boot, UntilThenTheRpmServes) {
  const Instance instance("bootrpm");
  instance.flip("container");
  instance.do_inside("docker tag dualdeploy-sample keep && docker rmi dualdeploy-sample && systemctl disable docker docker.socket");
  instance.reboot();
  instance.until("the RPM serves", [&] { return instance.answered_by() == "rpm"; });
  instance.until("the agent is ready with a reason", [&] {
    return instance.inside("systemctl is-active dualdeployd").output == "active\n" &&
           instance.inside("dualctl status").output.find("intended: container") != std::string::npos;
  });
  instance.do_inside("docker tag keep dualdeploy-sample; systemctl start docker && docker tag keep dualdeploy-sample");
  instance.until("the container has the traffic again", [&] { return instance.answered_by() == "container"; },
                 std::chrono::seconds(120));
}

TEST(Boot, PowerCutsDuringFlips) {
  const Instance instance("bootcut");
  for (int i = 0; i < 20; ++i) {
    const std::string side = i % 2 == 0 ? "container" : "rpm";
    std::string acknowledged = side == "rpm" ? "container" : "rpm";
    instance.flip(acknowledged);
    // A flip that may or may not have been acknowledged when the power goes.
    auto flipping = std::async(std::launch::async, [&] { return instance.inside("dualctl flip sample " + side); });
    if (i % 3 == 0) flipping.wait();
    instance.power_cut();
    const Outcome outcome = flipping.get();
    if (outcome.status == 0) acknowledged = side;
    instance.until("booted and settled", [&] {
      return instance.inside("systemctl is-active dualdeployd").output == "active\n" && instance.health("rpm") == "healthy" &&
             instance.health("container") == "healthy";
    });
    const std::string journal = instance.do_inside("dualctl history --all -n 100");
    EXPECT_THAT(journal, Not(HasSubstr("cannot be used"))) << "the state was unreadable";
    if (outcome.status == 0) {
      instance.until("the acknowledged route " + acknowledged, [&] { return instance.answered_by() == acknowledged; });
    } else {
      EXPECT_NE(instance.answered_by(), "none");
    }
  }
}

}  // namespace
}  // namespace dualdeploy::testing
