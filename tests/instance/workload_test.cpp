// The parts that need a real systemd and real container engines, run inside an instance.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "instance/support/instance.hpp"

namespace dualdeploy::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

void run_inside(const Instance& instance, const std::string& filter) {
  instance.push(DD_WORKLOAD_TESTS, "/root/workload_tests");
  const Outcome outcome = instance.inside("/root/workload_tests --gtest_filter='" + filter + "'");
  EXPECT_EQ(outcome.status, 0) << outcome.output;
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("[  PASSED  ]"), Not(HasSubstr("SKIPPED")), Not(HasSubstr("0 tests ran"))));
}

TEST(Workload, UnitSide) {
  const Instance instance("unitside", Instance::Agent::absent);
  run_inside(instance, "*UnitSide*");
}

TEST(Workload, Engines) {
  const Instance instance("engines", Instance::Agent::absent);
  instance.do_inside("mkdir -p /run/podman && systemd-run -q --unit podman-test podman system service --time=0 unix:///run/podman/podman.sock");
  instance.until("Podman's service is up", [&] { return instance.inside("podman --remote version").status == 0; });
  instance.do_inside("docker save dualdeploy-sample | podman load -q");
  run_inside(instance, "*RealEngine*");
}

}  // namespace
}  // namespace dualdeploy::testing
