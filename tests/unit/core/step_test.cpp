#include "core/step.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/core/world.hpp"

namespace dualdeploy {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

KernelRoute active(const Route& route) { return {KernelRoute::Kind::active, route}; }

TEST(Step, FlipReachesKernelAndDiskBeforeItIsAnswered) {
  World world;
  world.boot().both_healthy();
  const RequestId id = world.flip(Side::container);
  ASSERT_TRUE(world.answer(id));
  EXPECT_FALSE(world.answer(id)->error);
  EXPECT_EQ(world.kernel, container);
  EXPECT_EQ(world.disk.route, container);
  EXPECT_FALSE(world.disk.intent);
  EXPECT_THAT(world.kinds(), ::testing::ElementsAre("flip done"));
  EXPECT_EQ(world.records.back().actor.user, "alice");
}

TEST(Step, FlipBackAndTwice) {
  World world;
  world.boot().both_healthy();
  world.flip(Side::container);
  const RequestId again = world.flip(Side::container);
  EXPECT_THAT(world.answer(again)->message, HasSubstr("already"));
  const RequestId back = world.flip(Side::rpm);
  EXPECT_FALSE(world.answer(back)->error);
  EXPECT_EQ(world.kernel, rpm);
  EXPECT_EQ(world.disk.route, rpm);
}

TEST(Step, IntentIsOnDiskBeforeTheKernelChanges) {
  World world;
  world.boot().both_healthy();
  world.kernel_silent = true;
  world.flip(Side::container);
  ASSERT_TRUE(world.disk.intent);
  EXPECT_EQ(world.disk.route, rpm);
  EXPECT_EQ(world.disk.intent->to, container);
  EXPECT_EQ(world.disk.intent->actor.user, "alice");
  EXPECT_TRUE(world.answers.empty());
}

TEST(Step, SickTargetIsRefusedEvenByForce) {
  World world;
  world.boot().both_healthy().fail_check(Side::container, 3);
  for (const bool force : {false, true}) {
    const RequestId id = world.flip(Side::container, force);
    ASSERT_TRUE(world.answer(id)->error);
    EXPECT_EQ(world.answer(id)->error->code, ErrorCode::refused);
    EXPECT_THAT(world.answer(id)->error->message, HasSubstr("HTTP status 503"));
  }
  EXPECT_EQ(world.kernel, rpm);
}

TEST(Step, UnprovenTargetNeedsForceOrWait) {
  World world;
  world.boot().up(Side::rpm, 10).up(Side::container, 20).pass(Side::rpm);
  EXPECT_EQ(world.answer(world.flip(Side::container))->error->code, ErrorCode::refused);
  const RequestId waiting = world.flip(Side::container, false, 5s);
  EXPECT_FALSE(world.answer(waiting));
  const RequestId second = world.flip(Side::container, false, 5s);
  EXPECT_THAT(world.answer(second)->error->message, HasSubstr("another change is in progress"));
  world.pass(Side::container);
  ASSERT_TRUE(world.answer(waiting));
  EXPECT_FALSE(world.answer(waiting)->error);
  EXPECT_EQ(world.kernel, container);
}

TEST(Step, WaitEnds) {
  World world;
  world.boot().up(Side::rpm, 10).pass(Side::rpm);
  const RequestId id = world.flip(Side::container, false, 5s);
  world.wait(4999ms);
  EXPECT_FALSE(world.answer(id));
  world.wait(2ms);
  ASSERT_TRUE(world.answer(id));
  EXPECT_EQ(world.answer(id)->error->code, ErrorCode::timed_out);
  EXPECT_FALSE(world.state.change);
}

TEST(Step, KernelRefusalLeavesEverything) {
  World world;
  world.boot().both_healthy();
  world.kernel_refuses = true;
  const RequestId id = world.flip(Side::container);
  EXPECT_THAT(world.answer(id)->error->message, HasSubstr("nft: no"));
  EXPECT_EQ(world.disk.route, rpm);
  EXPECT_FALSE(world.disk.intent);
  EXPECT_EQ(world.state.effective, rpm);
  ASSERT_TRUE(world.state.repair_to);  // Nobody knows what the kernel holds: it is told again until it says yes.
  world.kernel_refuses = false;
  world.wait(5s);
  EXPECT_FALSE(world.state.repair_to);
  EXPECT_EQ(world.kernel, rpm);
}

TEST(Step, DiskRefusalBeforeTheKernel) {
  World world;
  world.boot().both_healthy();
  world.disk_refuses = true;
  const RequestId id = world.flip(Side::container);
  EXPECT_THAT(world.answer(id)->error->message, HasSubstr("disk full"));
  EXPECT_EQ(world.kernel, rpm);
}

TEST(Step, DiskRefusalAfterTheKernelGoesBack) {
  World world;
  world.boot().both_healthy();
  world.kernel_silent = true;
  const RequestId id = world.flip(Side::container);
  world.kernel_silent = false;
  world.disk_refuses = true;
  world.kernel = container;
  world.on(event::Applied{world.silent_tickets.back(), {}});
  EXPECT_TRUE(world.answer(id)->error);
  EXPECT_EQ(world.kernel, rpm);
  world.disk_refuses = false;
  world.wait(10s);
  EXPECT_EQ(world.disk.route, rpm);
  EXPECT_FALSE(world.disk.intent);
}

TEST(Step, ContainerDeathRevertsAtOnceAndLatches) {
  World world;
  world.boot().both_healthy();
  world.flip(Side::container);
  world.down(Side::container);
  EXPECT_EQ(world.kernel, rpm);
  EXPECT_EQ(world.disk.route, rpm);
  EXPECT_EQ(world.records.back().kind, RecordKind::auto_revert);
  EXPECT_THAT(world.records.back().reason, HasSubstr("SIGKILL"));
  world.wait(2s);
  EXPECT_EQ(world.operations.size(), 1U);
  world.up(Side::container, 21).pass(Side::container, 10).wait(10min);
  EXPECT_EQ(world.state.sides[Side::container].verdict, Verdict::healthy);
  EXPECT_EQ(world.kernel, rpm);  // No flapping back.
}

TEST(Step, FailingChecksRevertAfterFallAndInTheBakeAtOnce) {
  World world;
  world.boot().both_healthy();
  world.flip(Side::container);
  world.wait(31s).fail_check(Side::container, 2);
  EXPECT_EQ(world.kernel, container);
  world.fail_check(Side::container);
  EXPECT_EQ(world.kernel, rpm);

  World baking;
  baking.boot().both_healthy();
  baking.flip(Side::container);
  baking.wait(29s).fail_check(Side::container);
  EXPECT_EQ(baking.kernel, rpm);
}

TEST(Step, BothSickLeavesTheRoute) {
  World world;
  world.boot().both_healthy();
  world.flip(Side::container);
  world.fail_check(Side::rpm, 3).down(Side::container);
  EXPECT_EQ(world.kernel, container);
  ASSERT_FALSE(alarms(world.state).empty());
  EXPECT_THAT(alarms(world.state).front(), HasSubstr("both sides look sick"));
  world.pass(Side::rpm, 2);  // The RPM is back: now there is somewhere to go.
  EXPECT_EQ(world.kernel, rpm);
}

TEST(Step, EngineSilenceIsNotAFailure) {
  World world;
  world.boot().both_healthy();
  world.flip(Side::container);
  world.on(event::Reported{Side::container, Workload{.state = RunState::unknown, .pid = 20, .detail = "no answer"}});
  world.pass(Side::container).wait(1min);
  EXPECT_EQ(world.kernel, container);
  EXPECT_TRUE(world.operations.empty());
}

TEST(Step, RevertIsNeverGated) {
  World world;
  world.boot().both_healthy();
  world.flip(Side::container);
  world.ask(HoldCommand{}, "incident 4711");
  world.fail_check(Side::rpm, 3);
  const RequestId id = world.ask(RevertCommand{});
  EXPECT_FALSE(world.answer(id)->error);
  EXPECT_EQ(world.kernel, rpm);
  EXPECT_TRUE(world.disk.hold);
}

TEST(Step, RevertOvertakesAChangeInProgress) {
  World world;
  world.boot().both_healthy();
  world.disk_silent = true;
  const RequestId flip = world.flip(Side::container);
  const RequestId revert = world.ask(RevertCommand{});
  ASSERT_TRUE(world.answer(flip));
  EXPECT_THAT(world.answer(flip)->error->message, HasSubstr("superseded"));
  EXPECT_EQ(world.kernel, rpm);
  world.disk_silent = false;
  world.on(event::Saved{world.silent_tickets.front(), {}});  // Late and of no account.
  EXPECT_EQ(world.kernel, rpm);
  world.on(event::Saved{world.silent_tickets.back(), {}});
  EXPECT_FALSE(world.answer(revert)->error);
}

/// Two found by the simulation: "already so" is no answer as long as the disk does not know it.
TEST(Step, ARevertWhileAnEarlierOneIsNotOnDiskIsNotJustAlreadySo) {
  World world;
  world.boot().both_healthy();
  world.flip(Side::container);
  world.disk_refuses = true;
  (void)world.ask(RevertCommand{});
  const RequestId again = world.ask(RevertCommand{});
  EXPECT_THAT(world.answer(again)->message, HasSubstr("WARNING"));
  world.disk_refuses = false;
  const RequestId saved = world.ask(RevertCommand{});
  EXPECT_EQ(world.disk.route, rpm);
  EXPECT_THAT(world.answer(saved)->message, ::testing::Not(HasSubstr("WARNING")));
}

TEST(Step, AFlipThatIsAlreadySoButNotOnDiskSaysIt) {
  World world;
  world.boot().both_healthy();
  world.flip(Side::container);
  world.disk_refuses = true;
  (void)world.ask(RevertCommand{});
  const RequestId flip = world.flip(Side::rpm);
  EXPECT_THAT(world.answer(flip)->message, AllOf(HasSubstr("already at rpm"), HasSubstr("WARNING")));
}

/// Found by the simulation: a flip to the RPM that waits for a slow disk is no reason to stay on a sick container.
TEST(Step, ASlowDiskDoesNotDelayTheAutomaticRevert) {
  World world;
  world.boot().both_healthy();
  world.flip(Side::container);
  world.disk_silent = true;
  const RequestId flip = world.flip(Side::rpm);
  ASSERT_EQ(world.kernel, container);
  world.down(Side::container);
  EXPECT_EQ(world.kernel, rpm);
  EXPECT_THAT(world.answer(flip)->error->message, HasSubstr("the container became sick meanwhile"));
}

TEST(Step, RevertStandsWithoutDisk) {
  World world;
  world.boot().both_healthy();
  world.flip(Side::container);
  world.disk_refuses = true;
  const RequestId id = world.ask(RevertCommand{});
  EXPECT_FALSE(world.answer(id)->error);
  EXPECT_THAT(world.answer(id)->message, HasSubstr("WARNING"));
  EXPECT_EQ(world.kernel, rpm);
  world.disk_refuses = false;
  world.wait(10s);
  EXPECT_EQ(world.disk.route, rpm);
}

TEST(Step, FailedRevertIsTriedUntilTheKernelObeys) {
  World world;
  world.boot().both_healthy();
  world.flip(Side::container);
  world.kernel_refuses = true;
  world.down(Side::container);
  EXPECT_EQ(world.kernel, container);
  EXPECT_EQ(world.disk.route, rpm);
  world.wait(2s);
  world.kernel_refuses = false;
  world.wait(1s);
  EXPECT_EQ(world.kernel, rpm);
  EXPECT_EQ(world.state.effective, rpm);
}

TEST(Step, HoldRefusesUntilReleased) {
  World world;
  world.boot().both_healthy();
  EXPECT_FALSE(world.answer(world.ask(HoldCommand{}, "release day"))->error);
  EXPECT_EQ(world.disk.hold->reason, "release day");
  const RequestId refused = world.flip(Side::container, true);
  EXPECT_EQ(world.answer(refused)->error->code, ErrorCode::refused);
  EXPECT_THAT(world.answer(refused)->error->message, HasSubstr("release day"));
  EXPECT_TRUE(world.answer(world.ask(HoldCommand{}, "again"))->error);
  world.ask(ReleaseCommand{});
  EXPECT_FALSE(world.disk.hold);
  EXPECT_FALSE(world.answer(world.flip(Side::container))->error);
}

TEST(Step, HoldDoesNotStopTheAutomaticRevert) {
  World world;
  world.boot().both_healthy();
  world.flip(Side::container);
  world.ask(HoldCommand{}, "x");
  world.down(Side::container);
  EXPECT_EQ(world.kernel, rpm);
}

TEST(Step, BootWithSavedContainerWaitsForItsHealth) {
  World world;
  world.boot(Durable{container, {}, {}});
  EXPECT_EQ(world.kernel, rpm);
  EXPECT_FALSE(settled(world.state, world.now));
  world.both_healthy();
  EXPECT_EQ(world.kernel, container);
  EXPECT_TRUE(settled(world.state, world.now));
  EXPECT_EQ(world.records.back().kind, RecordKind::restore);
}

TEST(Step, OperatorsFlipOvertakesTheRestore) {
  for (const bool disk_refuses : {false, true}) {
    World world;
    world.boot(Durable{container, {}, {}}).up(Side::rpm, 10).up(Side::container, 20).pass(Side::rpm);
    world.kernel_silent = true;
    world.pass(Side::container);  // The restore is on its way to the kernel...
    ASSERT_TRUE(world.state.change);
    world.kernel_silent = false;
    world.kernel = container;  // ...and reaches it.
    world.disk_refuses = disk_refuses;
    const RequestId id = world.flip(Side::rpm);
    ASSERT_TRUE(world.answer(id));
    EXPECT_EQ(world.answer(id)->error.has_value(), disk_refuses);
    world.on(event::Applied{world.silent_tickets.front(), {}});  // Late and of no account.
    world.wait(10s);
    EXPECT_EQ(world.kernel, disk_refuses ? container : rpm);  // A failed flip leaves the saved route to be restored.
    EXPECT_EQ(world.state.effective, world.kernel);
    EXPECT_EQ(world.disk.route, disk_refuses ? Route{} : rpm);
  }
}

TEST(Step, BootIsSettledWithAReason) {
  World world;
  world.boot(Durable{container, {}, {}});
  world.on(event::Reported{Side::container, Workload{.state = RunState::missing, .detail = "image shop:1 is not here"}});
  EXPECT_TRUE(settled(world.state, world.now));
  EXPECT_THAT(why_not_intended(world.state), HasSubstr("image shop:1"));
  World slow;
  slow.boot(Durable{container, {}, {}});
  slow.wait(16s);
  EXPECT_TRUE(settled(slow.state, slow.now));
}

TEST(Step, AdoptsWhatTheKernelHolds) {
  World world;
  world.kernel = container;
  world.boot(Durable{container, {}, {}}, active(container));
  EXPECT_EQ(world.kernel, container);
  EXPECT_EQ(world.state.effective, container);
  EXPECT_THAT(world.kinds(), ::testing::ElementsAre("adopt done"));
  world.both_healthy();
  EXPECT_EQ(world.kernel, container);
}

TEST(Step, UnacknowledgedFlipGoesBackAtRestart) {
  World world;
  world.kernel = container;
  world.boot(Durable{rpm, {}, Intent{RecordKind::flip, rpm, container, Actor{1000, 1, "alice"}, "try"}}, active(container));
  EXPECT_EQ(world.kernel, rpm);
  EXPECT_EQ(world.disk.route, rpm);
  EXPECT_FALSE(world.disk.intent);
  EXPECT_THAT(world.kinds(), ::testing::ElementsAre("interrupted done"));
  EXPECT_THAT(world.records.back().reason, HasSubstr("alice"));
}

TEST(Step, UnsavedRevertIsFinishedAtRestart) {
  World world;
  world.boot(Durable{container, {}, {}}, KernelRoute{KernelRoute::Kind::none, {}});
  world.both_healthy().wait(1min);
  EXPECT_EQ(world.kernel, rpm);
  EXPECT_EQ(world.disk.route, rpm);
}

TEST(Step, LapsedLeaseIsRestoredWhenHealthy) {
  World world;
  world.boot(Durable{container, {}, {}}, KernelRoute{KernelRoute::Kind::lapsed, container});
  EXPECT_EQ(world.kernel, rpm);
  world.both_healthy();
  EXPECT_EQ(world.kernel, container);
}

TEST(Step, UnreadableStateIsTheRpmWhateverTheConfiguration) {
  World world(Side::container);
  world.kernel = container;
  world.boot({}, active(container), "the saved state cannot be read");
  EXPECT_EQ(world.kernel, rpm);
  world.both_healthy().wait(1min);
  EXPECT_EQ(world.kernel, rpm);
}

TEST(Step, InitialRouteOfANewMachine) {
  World world(Side::container);
  world.boot();
  EXPECT_EQ(world.kernel, rpm);
  world.both_healthy();
  EXPECT_EQ(world.kernel, container);
}

TEST(Step, NewServiceBesideOthersTakesItsInitialRoute) {
  World world(Side::container);
  world.boot({}, KernelRoute{KernelRoute::Kind::none, {}});
  world.both_healthy();
  EXPECT_EQ(world.kernel, container);
}

TEST(Step, StartsWhatIsDownWithBackoffAndALimit) {
  World world;
  world.boot();
  world.down(Side::container, "there is no container yet");
  ASSERT_EQ(world.operations.size(), 1U);  // At first sight: at once.
  for (int i = 0; i < 100; ++i) {
    world.on(event::Operated{Side::container, Error{ErrorCode::failed, "no"}});
    world.wait(61s);
    if (world.operations.size() == 10U) break;
  }
  EXPECT_EQ(world.operations.size(), 10U);
  world.on(event::Operated{Side::container, Error{ErrorCode::failed, "no"}});
  world.wait(9min);
  EXPECT_EQ(world.operations.size(), 10U);  // It rests.
  world.wait(10min);
  EXPECT_GT(world.operations.size(), 10U);
}

TEST(Step, MissingImageIsUsedAsSoonAsItIsThere) {
  World world;
  world.boot();
  world.on(event::Reported{Side::container, Workload{.state = RunState::missing, .detail = "no image"}});
  world.on(event::Operated{Side::container, Error{ErrorCode::failed, "no image"}});
  world.wait(10s);
  const std::size_t tried = world.operations.size();
  world.on(event::Reported{Side::container, Workload{.state = RunState::stopped, .detail = "there is no container yet"}});
  EXPECT_EQ(world.operations.size(), tried + 1);
}

TEST(Step, RestartsWhatRunsAndFails) {
  World world;
  world.boot().both_healthy();
  world.wait(1min).fail_check(Side::container, 3).wait(2s);
  ASSERT_EQ(world.operations.size(), 1U);
  EXPECT_EQ(world.operations.front().operation, Operation::restart);
  world.fail_check(Side::container, 10).wait(1h);
  EXPECT_EQ(world.operations.size(), 1U);  // The first has not ended: never two at once.
}

TEST(Step, StartPeriodForgivesUntilTheFirstSuccess) {
  World world;
  world.boot().both_healthy();
  world.down(Side::container).wait(2s);
  world.on(event::Operated{Side::container, {}});
  world.up(Side::container, 21).fail_check(Side::container, 20);
  EXPECT_EQ(world.state.sides[Side::container].failed_in_row, 0);
  world.pass(Side::container, 2);
  EXPECT_EQ(world.state.sides[Side::container].verdict, Verdict::healthy);
}

TEST(Step, ProbeOfADeadProcessIsNotBelieved) {
  World world;
  world.boot().both_healthy();
  const Instant before_death = world.now;
  world.wait(1s).down(Side::container);
  world.on(event::Probed{Side::container, before_death, {}});
  world.on(event::Probed{Side::container, before_death, {}});
  EXPECT_EQ(world.state.sides[Side::container].verdict, Verdict::sick);
}

TEST(Step, AContainerFoundDownWithTheTrafficGoesHome) {
  World world;
  world.boot(Durable{.route = container, .hold = {}, .intent = {}}, KernelRoute{KernelRoute::Kind::active, container});
  EXPECT_EQ(world.state.effective, container);
  world.up(Side::rpm, 10).down(Side::container);
  EXPECT_EQ(world.state.effective, rpm);
  EXPECT_EQ(world.state.durable.route, rpm);
  // It is started again, and has no traffic any more.
  world.wait(5s).up(Side::container, 20).pass(Side::container, 5);
  EXPECT_EQ(world.state.effective, rpm);
}

TEST(Step, ACheckThatCouldNotBeMadeSaysNothing) {
  World world;
  world.boot().both_healthy();
  (void)world.flip(Side::container);
  for (int i = 0; i < 10; ++i) {
    for (const Side side : both_sides) {
      world.on(event::Probed{side, world.now, ProbeFailure{.reason = "Too many open files", .excerpt = "", .inconclusive = true}});
    }
    world.wait(1s);
  }
  EXPECT_EQ(world.state.effective, container);
  EXPECT_EQ(world.state.sides[Side::container].verdict, Verdict::healthy);
  EXPECT_THAT(alarms(world.state), ::testing::ElementsAre("the rpm side cannot be checked: Too many open files",
                                                          "the container side cannot be checked: Too many open files"));
  // Told once, and once more when it is over; real failures count as ever.
  const auto told = std::ranges::count_if(world.records, [](const Record& record) { return record.kind == RecordKind::alarm; });
  EXPECT_EQ(told, 2);
  world.pass(Side::rpm).pass(Side::container);
  EXPECT_TRUE(alarms(world.state).empty());
  world.fail_check(Side::container, 3);
  EXPECT_EQ(world.state.effective, rpm);
}

TEST(Step, ReplacedProcessHasToProveItself) {
  World world;
  world.boot().both_healthy();
  world.flip(Side::container);
  world.up(Side::container, 21);
  EXPECT_EQ(world.kernel, rpm);
}

TEST(Step, OutdatedContainerIsReplacedOnceItHasNoTraffic) {
  World world;
  world.boot().both_healthy();
  world.flip(Side::container);
  world.on(event::Reported{Side::container, Workload{.state = RunState::running, .pid = 20, .outdated = true}});
  world.wait(1h);
  EXPECT_TRUE(world.operations.empty());
  world.flip(Side::rpm);
  world.wait(1s);
  ASSERT_EQ(world.operations.size(), 1U);
  EXPECT_EQ(world.operations.front().operation, Operation::restart);
}

TEST(Step, NewConfigurationOfASideEndsItsRest) {
  World world;
  world.boot().down(Side::container, "no");
  world.on(event::Operated{Side::container, Error{ErrorCode::failed, "no"}});
  ASSERT_EQ(world.operations.size(), 1U);
  event::PolicyChanged changed{world.state.policy, {}};
  world.on(changed);
  EXPECT_EQ(world.operations.size(), 1U);
  changed.side_changed[Side::container] = true;
  world.on(changed);
  EXPECT_EQ(world.operations.size(), 2U);
}

TEST(Step, RescueGoesToTheRpm) {
  World world;
  world.boot().both_healthy();
  world.flip(Side::container);
  EXPECT_FALSE(world.answer(world.ask(RescueCommand{}))->error);
  EXPECT_EQ(world.kernel, rpm);
  EXPECT_EQ(world.records.back().kind, RecordKind::rescue);
}

}  // namespace
}  // namespace dualdeploy
