// Old connections after a flip: counted, waited for, closed if asked.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <future>

#include "instance/support/held.hpp"
#include "instance/support/instance.hpp"
#include "instance/support/load.hpp"

namespace dualdeploy::testing {
namespace {

using ::testing::HasSubstr;

std::int64_t left(const Instance& instance) {
  boost::system::error_code error;
  const auto answer = boost::json::parse(instance.inside("dualctl --json drain sample").output, error);
  const boost::json::value* left = error ? nullptr : answer.as_object().if_contains("left");
  return left == nullptr ? -1 : left->to_number<std::int64_t>();
}

TEST(Drain, FiveHundredLongConnectionsAreCountedDown) {
  const Instance instance("drainwait");
  HeldConnections v4("drainwait", "192.0.2.1", 80, 400);
  HeldConnections v6("drainwait", "2001:db8::1", 80, 100);
  instance.flip("container");
  HeldConnections later("drainwait", "192.0.2.1", 80, 7);
  EXPECT_EQ(left(instance), 500);
  EXPECT_THAT(instance.do_inside("dualctl drain sample"), HasSubstr("sample: 500 left on rpm (rpm 500, container 7)"));
  EXPECT_THAT(instance.do_inside("dualctl status"), HasSubstr("open      rpm 500, container 7 connections; rpm drains since"));
  EXPECT_EQ(v4.alive() + v6.alive() + later.alive(), 507);
  std::printf("500 left");
  for (const int target : {400, 150, 100}) {
    v4.end(target == 100 ? 0 : static_cast<int>(left(instance)) - target);
    v6.end(target == 100 ? 50 : 0);
    instance.until("counted down", [&] { return left(instance) == target; });
    std::printf(", %d", target);
  }
  std::printf("\n");
  // Waiting takes as long as the last one lives, and no longer.
  auto waiting = std::async(std::launch::async, [&] { return instance.inside("dualctl drain sample --wait --timeout 60s"); });
  EXPECT_EQ(instance.inside("dualctl drain sample --wait --timeout 300ms").status, 6);
  v4.end(1'000);
  v6.end(1'000);
  const Outcome waited = waiting.get();
  EXPECT_EQ(waited.status, 0) << waited.output;
  EXPECT_THAT(waited.output, HasSubstr("no connection is left on rpm (rpm 0, container 7)"));
  instance.until("the end is on record", [&] { return instance.history().find("rpm is drained: the last of 500 connections") != std::string::npos; });
  EXPECT_EQ(later.alive(), 7);
}

TEST(Drain, ThenCloseClosesExactlyThose) {
  const Instance instance("drainclose");
  instance.do_inside("printf 'drain: {timeout: 2s, then: close}\\n' >> /etc/dualdeploy/services.d/sample.yaml; systemctl reload dualdeployd");
  HeldConnections old4("drainclose", "192.0.2.1", 80, 30);
  HeldConnections old6("drainclose", "2001:db8::1", 80, 30);
  instance.flip("container");
  HeldConnections fresh4("drainclose", "192.0.2.1", 80, 30);
  HeldConnections fresh6("drainclose", "2001:db8::1", 80, 30);
  Load load(instance, Load::Kind::keep_alive, 5);
  EXPECT_EQ(old4.alive() + old6.alive(), 60);
  instance.until("they are closed", [&] { return left(instance) == 0; });
  EXPECT_EQ(old4.alive() + old6.alive(), 0);
  EXPECT_EQ(fresh4.alive() + fresh6.alive(), 60);
  EXPECT_EQ(load.finish().errors, "");
  instance.until("it is on record", [&] { return instance.history().find("closed 60 connections left on rpm") != std::string::npos; });
  EXPECT_THAT(instance.history(), HasSubstr("60 connections left on rpm; they are closed in 2s"));
  EXPECT_EQ(instance.health("rpm"), "healthy");
}

}  // namespace
}  // namespace dualdeploy::testing
