// What makes a flip safe: confirmation, guards, hooks, proof, standby, failover.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/core/world.hpp"

namespace dualdeploy {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

FlipCommand to_be_confirmed(const Route& to, Milliseconds within = 60s) {
  return FlipCommand{.to = to, .wait = {}, .confirm_within = within};
}

// ---- Confirm ----

TEST(Confirm, UnconfirmedGoesBackByItself) {
  World world;
  world.boot().both_healthy();
  const auto answer = world.answer(world.ask(to_be_confirmed(container)));
  EXPECT_THAT(answer->message, HasSubstr("back to rpm unless confirmed within 1m"));
  EXPECT_EQ(world.kernel_until, world.now + 60s);
  EXPECT_EQ(world.disk.confirm->deadline, world.now + 60s);
  world.wait(59s);
  EXPECT_EQ(world.kernel, container);
  world.wait(1s);
  EXPECT_EQ(world.kernel, rpm);
  EXPECT_EQ(world.disk.route, rpm);
  EXPECT_FALSE(world.disk.confirm);
  EXPECT_THAT(world.kinds(), ElementsAre("flip done", "expired done"));
}

TEST(Confirm, ConfirmedStaysAndTheKernelForgetsTheDeadline) {
  World world;
  world.boot().both_healthy();
  world.ask(to_be_confirmed(container));
  world.wait(59'999ms);
  const auto confirmed = world.answer(world.ask(ConfirmCommand{}));
  EXPECT_FALSE(confirmed->error);
  EXPECT_FALSE(world.kernel_until);
  EXPECT_FALSE(world.disk.confirm);
  world.wait(10min);
  EXPECT_EQ(world.kernel, container);
  EXPECT_EQ(world.disk.route, container);
}

TEST(Confirm, TooLateIsRefused) {
  World world;
  world.boot().both_healthy();
  world.ask(to_be_confirmed(container, 5s));
  world.wait(6s);
  const auto late = world.answer(world.ask(ConfirmCommand{}));
  EXPECT_EQ(late->error->code, ErrorCode::refused);
  EXPECT_THAT(late->error->message, HasSubstr("nothing waits for a confirmation"));
  EXPECT_EQ(world.kernel, rpm);
}

TEST(Confirm, GoesBackToTheShareBefore) {
  World world;
  world.boot().both_healthy();
  world.ask(FlipCommand{.to = Route::of(10), .wait = {}});
  world.ask(to_be_confirmed(Route::of(50)));
  world.wait(61s);
  EXPECT_EQ(world.kernel, Route::of(10));
  EXPECT_EQ(world.disk.route, Route::of(10));
}

TEST(Confirm, OnePendingAtATime) {
  World world;
  world.boot().both_healthy();
  world.ask(to_be_confirmed(Route::of(10)));
  const auto other = world.answer(world.ask(FlipCommand{.to = Route::of(20), .wait = {}}));
  EXPECT_EQ(other->error->code, ErrorCode::refused);
  EXPECT_THAT(other->error->message, HasSubstr("waits for its confirmation; first: dualctl confirm shop, or back: dualctl revert shop"));
  // The same route again extends...
  world.wait(50s);
  EXPECT_FALSE(world.answer(world.ask(to_be_confirmed(Route::of(10))))->error);
  world.wait(30s);
  EXPECT_EQ(world.kernel, Route::of(10));
  // ...and still knows where it came from.
  world.wait(31s);
  EXPECT_EQ(world.kernel, rpm);
}

TEST(Confirm, RevertAndFlipToTheRpmSettleIt) {
  for (const Command& back : {Command{RevertCommand{}}, Command{FlipCommand{.to = rpm, .wait = {}}}}) {
    World world;
    world.boot().both_healthy();
    world.ask(to_be_confirmed(container));
    EXPECT_FALSE(world.answer(world.ask(back))->error);
    EXPECT_FALSE(world.disk.confirm);
    world.wait(2min);
    EXPECT_EQ(world.kernel, rpm);
  }
}

TEST(Confirm, RevertSettlesAPendingFlipToTheRpmToo) {
  World world;
  world.boot().both_healthy();
  world.ask(FlipCommand{.to = container, .wait = {}});
  world.ask(to_be_confirmed(rpm));
  EXPECT_FALSE(world.answer(world.ask(RevertCommand{}))->error);
  world.wait(2min);
  EXPECT_EQ(world.kernel, rpm);
}

TEST(Confirm, AutomaticRevertSettlesIt) {
  World world;
  world.boot().both_healthy();
  world.ask(to_be_confirmed(container));
  world.down(Side::container);
  EXPECT_EQ(world.kernel, rpm);
  EXPECT_FALSE(world.disk.confirm);
  world.up(Side::container, 21).pass(Side::container, 5).wait(2min);
  EXPECT_EQ(world.kernel, rpm);
}

TEST(Confirm, SurvivesAnAgentThatDiedMeanwhile) {
  World world;
  world.boot().both_healthy();
  world.ask(to_be_confirmed(container));
  // In time: adopted, and the deadline holds.
  World in_time;
  in_time.now = world.now + 20s;
  in_time.kernel = container;
  in_time.boot(world.disk, {KernelRoute::Kind::active, container}).both_healthy();
  EXPECT_EQ(in_time.state.effective, container);
  in_time.wait(41s);
  EXPECT_EQ(in_time.kernel, rpm);
  // Too late: the kernel has ended it, and so it stays.
  World late;
  late.now = world.now + 61s;
  late.boot(world.disk, {KernelRoute::Kind::lapsed, container}).both_healthy().wait(10min);
  EXPECT_EQ(late.kernel, rpm);
  EXPECT_EQ(late.disk.route, rpm);
  EXPECT_THAT(late.kinds(), ElementsAre("expired done"));
}

TEST(Confirm, ARebootEndsIt) {
  World world;
  world.boot().both_healthy();
  world.ask(to_be_confirmed(container));
  World rebooted;
  rebooted.boot_id = "boot-2";
  rebooted.now = Instant{5s};  // Another clock: it says nothing about the deadline.
  rebooted.boot(world.disk).both_healthy().wait(10min);
  EXPECT_EQ(rebooted.kernel, rpm);
  EXPECT_EQ(rebooted.disk.route, rpm);
}

TEST(Confirm, ADiskThatFailsDoesNotConfirm) {
  World world;
  world.boot().both_healthy();
  world.ask(to_be_confirmed(container));
  world.disk_refuses = true;
  EXPECT_THAT(world.answer(world.ask(ConfirmCommand{}))->error->message, HasSubstr("cannot save the state"));
  world.disk_refuses = false;
  world.wait(61s);
  EXPECT_EQ(world.kernel, rpm);
}

TEST(Confirm, AKernelThatRefusesTheWayBackIsTriedAgain) {
  World world;
  world.boot().both_healthy();
  world.ask(to_be_confirmed(container));
  world.wait(59s);
  world.kernel_refuses = true;
  world.wait(10s);
  world.kernel_refuses = false;
  world.wait(1s);
  EXPECT_EQ(world.kernel, rpm);
  EXPECT_EQ(world.disk.route, rpm);
}

/// All rules are written anew now and then. That must not bring back what was to go.
TEST(Confirm, WhileTheWayBackIsTriedAgainTheRpmIsWhatIsWanted) {
  World world;
  world.boot().both_healthy();
  world.ask(to_be_confirmed(container));
  world.kernel_refuses = true;
  world.wait(61s);
  EXPECT_EQ(world.state.effective, container);
  EXPECT_EQ(wanted_in_kernel(world.state), rpm);
  world.kernel_refuses = false;
  world.wait(1s);
  EXPECT_EQ(wanted_in_kernel(world.state), rpm);
}

TEST(Confirm, BackToAShareOfASickContainerIsBackToTheRpm) {
  World world;
  world.boot().both_healthy();
  world.ask(FlipCommand{.to = container, .wait = {}});
  world.ask(to_be_confirmed(rpm));
  world.down(Side::container);
  world.wait(61s);
  EXPECT_EQ(world.kernel, rpm);
  EXPECT_EQ(world.disk.route, rpm);
}

// ---- Parity ----

TEST(Parity, AnotherRevisionIsRefusedAndBothAreNamed) {
  World world;
  world.revisions[Side::container] = "r2";
  world.boot().both_healthy();
  const auto refused = world.answer(world.ask(FlipCommand{.to = container, .wait = {}}));
  EXPECT_EQ(refused->error->code, ErrorCode::refused);
  EXPECT_THAT(refused->error->message, HasSubstr("the RPM is revision r1, the image is revision r2"));
  EXPECT_EQ(world.kernel, rpm);
  EXPECT_FALSE(world.answer(world.ask(FlipCommand{.to = container, .force = true, .wait = {}}))->error);
  EXPECT_EQ(world.kernel, container);
  EXPECT_THAT(world.records.back().message, HasSubstr("forced, although the sides are not known to be the same"));
}

TEST(Parity, AMissingRevisionIsRefused) {
  for (const Side missing : both_sides) {
    World world;
    world.revisions[missing] = "";
    world.boot().both_healthy();
    const auto refused = world.answer(world.ask(FlipCommand{.to = container, .wait = {}}));
    EXPECT_THAT(refused->error->message, HasSubstr(missing == Side::rpm ? "the RPM says no revision" : "has no label"));
    EXPECT_FALSE(world.answer(world.ask(FlipCommand{.to = rpm, .wait = {}}))->error);
  }
}

TEST(Parity, CanBeSwitchedOff) {
  World world;
  world.revisions[Side::container] = "r2";
  world.state.policy.parity = false;
  world.boot().both_healthy();
  EXPECT_FALSE(world.answer(world.ask(FlipCommand{.to = container, .wait = {}}))->error);
}

TEST(Parity, AMismatchIsNotWaitedFor) {
  World world;
  world.revisions[Side::container] = "r2";
  world.boot().up(Side::rpm, 1).up(Side::container, 2).pass(Side::rpm);
  const RequestId flip = world.ask(FlipCommand{.to = container, .wait = 60s});
  EXPECT_FALSE(world.answer(flip));  // Waits for the container's first good check...
  world.pass(Side::container);
  EXPECT_EQ(world.answer(flip)->error->code, ErrorCode::refused);  // ...and not for another image.
}

TEST(Parity, WhatIsNotKnownYetIsWaitedFor) {
  World world;
  world.boot().up(Side::rpm, 1).pass(Side::rpm).pass(Side::container);  // Its check passes, its supervisor has not spoken.
  const auto at_once = world.answer(world.ask(FlipCommand{.to = container, .wait = {}}));
  EXPECT_THAT(at_once->error->message, HasSubstr("not known yet what is installed: the container engine has not answered"));
  const RequestId flip = world.ask(FlipCommand{.to = container, .wait = 60s});
  EXPECT_FALSE(world.answer(flip));
  world.up(Side::container, 2);
  EXPECT_FALSE(world.answer(flip)->error);
}

TEST(Parity, OnlyThePinnedImage) {
  World world;
  world.state.policy.image_id = "sha256:1";
  world.state.policy.parity = false;
  world.boot().both_healthy();
  EXPECT_THAT(world.answer(world.ask(FlipCommand{.to = container, .wait = {}}))->error->message, HasSubstr("allows only sha256:1"));
}

// ---- Hooks ----

TEST(Hooks, ABeforeHookThatFailsRefuses) {
  World world;
  world.state.policy.before_hook = true;
  world.state.policy.after_hook = true;
  world.hook_error = Error{ErrorCode::failed, "/usr/bin/ask ended with status 1: change freeze"};
  world.boot().both_healthy();
  const auto refused = world.answer(world.ask(FlipCommand{.to = container, .wait = {}}));
  EXPECT_EQ(refused->error->code, ErrorCode::refused);
  EXPECT_THAT(refused->error->message, HasSubstr("change freeze"));
  EXPECT_EQ(world.kernel, rpm);
  EXPECT_EQ(world.hooks.size(), 1U);
}

TEST(Hooks, AroundAFlip) {
  World world;
  world.state.policy.before_hook = true;
  world.state.policy.after_hook = true;
  world.boot().both_healthy();
  EXPECT_FALSE(world.answer(world.ask(FlipCommand{.to = container, .wait = {}}, "release 7"))->error);
  ASSERT_EQ(world.hooks.size(), 2U);
  EXPECT_EQ(world.hooks[1].point, HookPoint::after);
  EXPECT_EQ(world.hooks[1].from, rpm);
  EXPECT_EQ(world.hooks[1].to, container);
  EXPECT_EQ(world.hooks[1].reason, "release 7");
}

TEST(Hooks, ARevertDoesNotWaitForThem) {
  World world;
  world.state.policy.before_hook = true;
  world.boot().both_healthy();
  world.ask(FlipCommand{.to = Route::of(10), .wait = {}});
  world.hook_silent = true;
  const RequestId flip = world.ask(FlipCommand{.to = container, .wait = {}});
  EXPECT_FALSE(world.answer(world.ask(RevertCommand{}))->error);
  EXPECT_EQ(world.kernel, rpm);
  EXPECT_TRUE(world.answer(flip)->error);
}

TEST(Hooks, TheContainerMayFailWhileTheHookRuns) {
  World world;
  world.state.policy.before_hook = true;
  world.hook_silent = true;
  world.boot().both_healthy();
  const RequestId flip = world.ask(FlipCommand{.to = container, .wait = {}});
  world.down(Side::container);
  world.on(event::HookEnded{world.hooks.back().ticket, {}});
  EXPECT_THAT(world.answer(flip)->error->message, HasSubstr("while the before-hook ran"));
  EXPECT_EQ(world.kernel, rpm);
}

// ---- Proof ----

TEST(Proof, WhatIsWrongBeforehandRefuses) {
  World world;
  world.boot().both_healthy();
  world.inspection_error = Error{ErrorCode::failed, "port 8080 is listened on by nc (4711)"};
  EXPECT_EQ(world.answer(world.ask(FlipCommand{.to = container, .wait = {}}))->error->code, ErrorCode::refused);
  EXPECT_EQ(world.kernel, rpm);
  EXPECT_THAT(world.kinds(), ElementsAre("flip refused"));
}

TEST(Proof, AFlipThatDoesNotProveRightGoesBack) {
  World world;
  world.boot().both_healthy();
  world.proof_error = Error{ErrorCode::failed, "port 8080 is listened on by nc (4711)"};
  const auto failed = world.answer(world.ask(FlipCommand{.to = container, .wait = {}}));
  EXPECT_EQ(failed->error->code, ErrorCode::failed);
  EXPECT_THAT(failed->error->message, HasSubstr("nc (4711); the route went back"));
  EXPECT_EQ(world.kernel, rpm);
  EXPECT_EQ(world.disk.route, rpm);
  EXPECT_THAT(world.kinds(), ElementsAre("flip failed"));
}

// ---- Standby ----

TEST(Standby, AColdContainerRunsForAFlipAndEndsAfterwards) {
  World world;
  world.state.policy.standby = Standby::cold;
  world.state.policy.stop_after = 5min;
  world.boot().up(Side::rpm, 10).pass(Side::rpm);
  world.on(event::Reported{Side::container, Workload{.state = RunState::stopped, .revision = "r1"}});
  world.wait(1h);
  EXPECT_TRUE(world.operations.empty());
  const RequestId flip = world.ask(FlipCommand{.to = container, .wait = 60s});
  ASSERT_EQ(world.operations.size(), 1U);
  EXPECT_EQ(world.operations[0].operation, Operation::start);
  world.on(event::Operated{Side::container, {}});
  world.up(Side::container, 20).pass(Side::container, 3);
  EXPECT_FALSE(world.answer(flip)->error);
  world.wait(1h);
  EXPECT_EQ(world.operations.size(), 1U);
  world.ask(FlipCommand{.to = rpm, .wait = {}});
  world.wait(4min);
  EXPECT_EQ(world.operations.size(), 1U);
  world.wait(1min);
  ASSERT_EQ(world.operations.size(), 2U);
  EXPECT_EQ(world.operations[1].operation, Operation::stop);
  world.on(event::Operated{Side::container, {}});
  world.down(Side::container, "").fail_check(Side::container, 10);
  EXPECT_EQ(world.state.sides[Side::container].verdict, Verdict::unknown);
  world.wait(1h);
  EXPECT_EQ(world.operations.size(), 2U);
}

// ---- Failover ----

TEST(Failover, IsOffByDefault) {
  World world;
  world.boot().both_healthy().fail_check(Side::rpm, 3);
  EXPECT_EQ(world.kernel, rpm);
}

/// Clients would be sent to a sick RPM and back every few seconds.
TEST(Failover, StandsThoughItCannotBeSavedYet) {
  World world;
  world.state.policy.rpm_unhealthy = RpmUnhealthy::failover;
  world.boot().both_healthy();
  world.disk_refuses = true;
  world.fail_check(Side::rpm, 3).wait(10s);
  EXPECT_EQ(world.kernel, container);
  EXPECT_EQ(world.disk.route, rpm);
  EXPECT_TRUE(world.state.unsaved);
  world.disk_refuses = false;
  world.wait(5s);
  EXPECT_EQ(world.disk.route, container);
}

TEST(Failover, OfASickRpmAndNoFlappingBack) {
  World world;
  world.state.policy.rpm_unhealthy = RpmUnhealthy::failover;
  world.boot().both_healthy().fail_check(Side::rpm, 3);
  EXPECT_EQ(world.kernel, container);
  EXPECT_EQ(world.disk.route, container);
  world.pass(Side::rpm, 10).wait(1h);
  EXPECT_EQ(world.kernel, container);  // The RPM is well again; going back is the operator's.
  world.fail_check(Side::container, 3);
  EXPECT_EQ(world.kernel, rpm);
  world.pass(Side::container, 5).fail_check(Side::rpm, 3).wait(1h);
  EXPECT_EQ(world.kernel, rpm);  // Both have failed: no third time without an operator.
  EXPECT_THAT(world.kinds(), ElementsAre("failover done", "auto-revert done"));
}

/// Found by the simulation: what is back at the RPM by an operator's will went to the container again at once.
TEST(Failover, DoesNotUndoARevertToASickRpm) {
  World world;
  world.state.policy.rpm_unhealthy = RpmUnhealthy::failover;
  world.boot().both_healthy().fail_check(Side::rpm, 3);
  ASSERT_EQ(world.kernel, container);
  const RequestId revert = world.ask(RevertCommand{});
  EXPECT_FALSE(world.answer(revert)->error);
  world.wait(1h);
  EXPECT_EQ(world.kernel, rpm);
  world.pass(Side::rpm, 2).fail_check(Side::rpm, 3);  // Sick once more: that is another matter.
  EXPECT_EQ(world.kernel, container);
}

TEST(Failover, NorOneThatFoundTheAutomaticRevertUnderWay) {
  World world;
  world.state.policy.rpm_unhealthy = RpmUnhealthy::failover;
  world.boot().both_healthy();
  world.flip(Side::container);
  world.kernel_silent = true;
  world.fail_check(Side::container, 3);
  const RequestId revert = world.ask(RevertCommand{});
  world.fail_check(Side::rpm, 3);
  world.kernel_silent = false;
  world.on(event::Applied{world.silent_tickets.back(), {}});
  EXPECT_FALSE(world.answer(revert)->error);
  world.pass(Side::container, 5).wait(1h);
  EXPECT_EQ(world.state.effective, rpm);
}

TEST(Failover, NotPastAHoldOrAnotherRevision) {
  World held;
  held.state.policy.rpm_unhealthy = RpmUnhealthy::failover;
  held.boot().both_healthy();
  held.ask(HoldCommand{}, "mine");
  held.fail_check(Side::rpm, 3).wait(1min);
  EXPECT_EQ(held.kernel, rpm);
  World other;
  other.state.policy.rpm_unhealthy = RpmUnhealthy::failover;
  other.revisions[Side::container] = "r2";
  other.boot().both_healthy().fail_check(Side::rpm, 3).wait(1min);
  EXPECT_EQ(other.kernel, rpm);
}

}  // namespace
}  // namespace dualdeploy
