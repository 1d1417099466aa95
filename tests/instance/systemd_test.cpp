// The parts that need a real systemd, run inside of one.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "instance/support/instance.hpp"

namespace dualdeploy::testing {
namespace {

TEST(Systemd, UnitSide) {
  const Instance instance("systemd", Instance::Agent::absent);
  instance.push(DD_SYSTEMD_TESTS, "/root/systemd_tests");
  const Outcome outcome = instance.inside("/root/systemd_tests");
  EXPECT_EQ(outcome.status, 0) << outcome.output;
  EXPECT_THAT(outcome.output, ::testing::HasSubstr("[  PASSED  ]"));
  EXPECT_THAT(outcome.output, ::testing::Not(::testing::HasSubstr("SKIPPED")));
}

}  // namespace
}  // namespace dualdeploy::testing
