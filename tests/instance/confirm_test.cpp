// Flips that go back by themselves unless they are confirmed.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <set>

#include "instance/support/instance.hpp"
#include "instance/support/kernel.hpp"
#include "instance/support/load.hpp"

namespace dualdeploy::testing {
namespace {

using ::testing::HasSubstr;

/// A line of the table of outcomes.
void outcome(const std::string& what, const Instance& instance) {
  std::printf("%-44s %s\n", what.c_str(), instance.answered_by().c_str());
}

void flip_to_be_confirmed(const Instance& instance, const std::string& within) {
  instance.do_inside("dualctl flip sample container --wait --confirm-within " + within);
  EXPECT_EQ(instance.answered_by(), "container");
}

std::string pending(const Instance& instance) {
  return instance.inside("dualctl status sample | grep confirm").output;
}

TEST(Confirm, ExpiresWhileTheAgentLives) {
  const Instance instance("confirmlive");
  flip_to_be_confirmed(instance, "3s");
  EXPECT_THAT(pending(instance), HasSubstr("or back to rpm: dualctl confirm sample"));
  Load load(instance, Load::Kind::connection_per_request, 5);
  instance.until("the RPM again", [&] { return instance.answered_by() == "rpm"; }, std::chrono::seconds(10));
  EXPECT_EQ(load.finish().errors, "");
  EXPECT_THAT(instance.history(), HasSubstr("not confirmed in time"));
  EXPECT_EQ(instance.inside("dualctl confirm sample").status, 3);
  outcome("expires, agent alive", instance);
}

TEST(Confirm, ExpiresInTheKernelAlone) {
  const Instance instance("confirmdead");
  flip_to_be_confirmed(instance, "4s");  // Far less than the lease, which is 60 s.
  const auto flipped = std::chrono::steady_clock::now();
  instance.do_inside("systemctl mask --runtime dualdeployd.service; systemctl kill -s KILL --kill-who=main dualdeployd");
  EXPECT_EQ(instance.answered_by(), "container");
  instance.until("the RPM again", [&] { return instance.answered_by() == "rpm"; }, std::chrono::seconds(15));
  EXPECT_EQ(instance.inside("pidof dualdeployd").output, "");
  outcome("expires, agent dead (kernel alone)", instance);
  // iptables counts in seconds and may have ended it up to two before the deadline.
  instance.until("the deadline has passed", [&] { return std::chrono::steady_clock::now() - flipped > std::chrono::seconds(4); });
  instance.do_inside("systemctl unmask --runtime dualdeployd.service; systemctl reset-failed dualdeployd; systemctl start dualdeployd");
  instance.until_healthy();
  EXPECT_EQ(instance.route(), "rpm");
  EXPECT_THAT(instance.history(), HasSubstr("not confirmed in time, while no agent ran"));
  outcome("agent back after that", instance);
}

TEST(Confirm, ARebootEndsIt) {
  const Instance instance("confirmboot");
  flip_to_be_confirmed(instance, "10m");
  instance.reboot();
  instance.until_healthy();
  EXPECT_EQ(instance.route(), "rpm");
  EXPECT_EQ(instance.answered_by(), "rpm");
  EXPECT_THAT(instance.history(), HasSubstr("rebooted before the flip was confirmed"));
  EXPECT_EQ(pending(instance), "");
  outcome("reboot before the confirmation", instance);
}

TEST(Confirm, AnAgentRestartInTimeChangesNothing) {
  const Instance instance("confirmagain");
  flip_to_be_confirmed(instance, "8s");
  instance.do_inside("systemctl kill -s KILL --kill-who=main dualdeployd");
  instance.until("adopted", [&] { return instance.history().find("adopt") != std::string::npos; });
  EXPECT_EQ(instance.answered_by(), "container");
  EXPECT_THAT(pending(instance), HasSubstr("or back to rpm"));
  instance.until("the RPM again", [&] { return instance.answered_by() == "rpm"; }, std::chrono::seconds(15));
  EXPECT_EQ(instance.history().find("drift"), std::string::npos) << instance.history();
  outcome("agent restarted in time, then expired", instance);
}

TEST(Confirm, ConfirmedInTheLastSecondStays) {
  const Instance instance("confirmlast");
  flip_to_be_confirmed(instance, "4s");
  Load load(instance, Load::Kind::connection_per_request, 8);
  instance.until("less than a second is left", [&] {
    const auto status = instance.status();
    const boost::json::object* confirm = status.at("confirm").if_object();
    return confirm == nullptr || confirm->at("left_ms").as_int64() < 1'000;
  });
  instance.do_inside("dualctl confirm sample --reason 'looks good'");
  EXPECT_EQ(load.finish().errors, "");  // Some seconds later.
  EXPECT_EQ(instance.answered_by(), "container");
  EXPECT_EQ(pending(instance), "");
  instance.do_inside("systemctl kill -s KILL --kill-who=main dualdeployd");
  instance.until("adopted", [&] { return instance.history().find("adopt") != std::string::npos; });
  EXPECT_EQ(instance.answered_by(), "container");
  outcome("confirmed in the last second", instance);
}

/// The wall clock of the agent alone (libfaketime): the machine's clock is not the test's to change. The kernel's leases and
/// the agent's deadlines run on clocks that no jump moves, which is what is to be shown.
TEST(Confirm, WallClockJumpsMoveNothing) {
  if (kernel().backend == "iptables") GTEST_SKIP() << "iptables' leases go by the wall clock: see the next test";
  const Instance instance("confirmclock");
  instance.do_inside("printf '+0' > /run/faketime; mkdir -p /run/systemd/system/dualdeployd.service.d");
  instance.write("/run/systemd/system/dualdeployd.service.d/clock.conf",
                 "[Service]\nEnvironment=LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1 "
                 "FAKETIME_TIMESTAMP_FILE=/run/faketime FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_NO_CACHE=1\n");
  instance.do_inside("systemctl daemon-reload && systemctl restart dualdeployd");
  instance.until_healthy();
  for (const std::string jump : {"+1h", "-1h"}) {
    flip_to_be_confirmed(instance, "5s");
    instance.do_inside("printf -- '" + jump + "' > /run/faketime");
    EXPECT_EQ(instance.answered_by(), "container");
    EXPECT_NE(pending(instance), "");  // Not over at once...
    instance.until("the RPM again", [&] { return instance.answered_by() == "rpm"; }, std::chrono::seconds(10));  // ...nor never.
    outcome("wall clock " + jump + ", then expired", instance);
    flip_to_be_confirmed(instance, "1m");
    instance.do_inside("printf '+0' > /run/faketime; dualctl confirm sample; dualctl revert sample");
  }
  // The jump was real to the agent.
  const std::string history = instance.do_inside("dualctl --json history -n 100");
  std::set<std::string> hours;
  for (std::size_t at = history.find("\"at\":\""); at != std::string::npos; at = history.find("\"at\":\"", at + 1)) {
    hours.insert(history.substr(at + 6, 13));
  }
  EXPECT_GE(hours.size(), 3U) << history;
}

/// With iptables a lease is a window of wall-clock time. What a clock that is set an hour back or forward does to it is
/// done to the window instead: it is moved by an hour the other way.
TEST(Confirm, AClockOutsideOfTheWindowMeansTheRpm) {
  if (kernel().backend != "iptables") GTEST_SKIP() << "nftables' leases do not go by the wall clock";
  const Instance instance("confirmwindow");
  const auto window = [&](const std::string& from, const std::string& to) {
    instance.do_inside("from=$(date -u -d '" + from + "' +%FT%T); to=$(date -u -d '" + to + "' +%FT%T); for f in iptables ip6tables; do "
                       "$f-save -t nat | sed \"s/--datestart [^ ]* --datestop [^ ]*/--datestart $from --datestop $to/\" | $f-restore; done");
  };
  flip_to_be_confirmed(instance, "10m");
  Load load(instance, Load::Kind::connection_per_request, 20);
  // A living agent notices within its periodic check, at the latest, and writes the lease anew.
  window("1 hour", "2 hours");
  EXPECT_EQ(instance.answered_by(), "rpm");
  instance.until("the lease is written anew", [&] { return instance.answered_by() == "container"; });
  EXPECT_THAT(instance.history(), HasSubstr("our leases had ended; put back"));
  instance.do_inside("systemctl mask --runtime dualdeployd.service; systemctl kill -s KILL --kill-who=main dualdeployd");
  EXPECT_EQ(instance.answered_by(), "container");
  window("1 hour", "2 hours");
  EXPECT_EQ(instance.answered_by(), "rpm");
  outcome("agent dead, clock an hour back", instance);
  window("2 hours ago", "1 hour ago");
  EXPECT_EQ(instance.answered_by(), "rpm");
  outcome("agent dead, clock an hour forward", instance);
  window("1 second ago", "3 seconds");
  EXPECT_EQ(instance.answered_by(), "container");
  instance.until("it ends by itself", [&] { return instance.answered_by() == "rpm"; }, std::chrono::seconds(10));
  outcome("agent dead, clock right again, then expired", instance);
  EXPECT_EQ(load.finish().errors, "");
}

}  // namespace
}  // namespace dualdeploy::testing
