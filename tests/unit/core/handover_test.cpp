// A service with one port: a flip stops one side and starts the other.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/core/world.hpp"

namespace dualdeploy {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// The RPM has the port, the container is created and not started.
struct OnePort : World {
  explicit OnePort(std::optional<Durable> durable = {}) {
    state.policy.strategy = Strategy::handover;
    state.policy.handover_deadline = 10s;
    operate_at_once = true;
    boot(std::move(durable), {KernelRoute::Kind::none, {}});
    up(Side::rpm, 10).pass(Side::rpm);
    on(event::Reported{Side::container, Workload{.state = RunState::stopped, .revision = "r1"}});
  }
  [[nodiscard]] RunState of(Side side) const { return state.sides[side].workload.state; }
};

TEST(Handover, OneStopsAndTheOtherStarts) {
  OnePort world;
  const RequestId flip = world.ask(FlipCommand{.to = container, .wait = {}});
  EXPECT_TRUE(world.held);
  EXPECT_EQ(world.of(Side::rpm), RunState::stopped);
  EXPECT_EQ(world.of(Side::container), RunState::running);
  EXPECT_FALSE(world.answer(flip));  // Not before it is healthy.
  world.wait(800ms).pass(Side::container);
  EXPECT_FALSE(world.held);
  ASSERT_TRUE(world.answer(flip));
  EXPECT_FALSE(world.answer(flip)->error);
  EXPECT_THAT(world.answer(flip)->message, HasSubstr("new connections waited for 800ms"));
  EXPECT_EQ(world.disk.route, container);
  EXPECT_EQ(world.state.effective, container);
  // And back.
  const RequestId back = world.ask(FlipCommand{.to = rpm, .wait = {}});
  world.wait(500ms).pass(Side::rpm);
  EXPECT_FALSE(world.answer(back)->error);
  EXPECT_EQ(world.of(Side::container), RunState::stopped);
  EXPECT_EQ(world.of(Side::rpm), RunState::running);
  EXPECT_EQ(world.disk.route, rpm);
  EXPECT_THAT(world.holds, ElementsAre(true, false, true, false));
  world.wait(1h);
  EXPECT_EQ(world.operations.size(), 4U);  // The idle side is left alone.
}

TEST(Handover, AContainerThatNeverGetsHealthyGoesBackByItself) {
  OnePort world;
  const RequestId flip = world.ask(FlipCommand{.to = container, .wait = {}});
  world.fail_check(Side::container, 20).wait(10s);
  EXPECT_EQ(world.of(Side::container), RunState::stopped);
  EXPECT_EQ(world.of(Side::rpm), RunState::running);
  EXPECT_TRUE(world.held);
  world.pass(Side::rpm);
  EXPECT_FALSE(world.held);
  EXPECT_THAT(world.answer(flip)->error->message, HasSubstr("the container side was not healthy within 10s: HTTP status 503; back on rpm after a gap of 10s"));
  EXPECT_EQ(world.state.effective, rpm);
  EXPECT_EQ(world.disk.route, rpm);
  EXPECT_FALSE(world.disk.intent);
}

TEST(Handover, AContainerThatEndsAtOnceGoesBackAtOnce) {
  OnePort world;
  const RequestId flip = world.ask(FlipCommand{.to = container, .wait = {}});
  world.wait(50ms).down(Side::container, "exited with status 1");
  world.pass(Side::rpm);
  EXPECT_THAT(world.answer(flip)->error->message, HasSubstr("ended at once: failed: exited with status 1"));
  EXPECT_EQ(world.state.effective, rpm);
}

TEST(Handover, AStartThatFailsOrAPortThatStaysTakenGoesBack) {
  OnePort failing;
  failing.start_error = Error{ErrorCode::failed, "no such image"};
  const RequestId flip = failing.ask(FlipCommand{.to = container, .wait = {}});
  EXPECT_FALSE(failing.held);  // The RPM did not start either: the kernel lets clients in, the supervision goes on trying.
  EXPECT_THAT(failing.answer(flip)->error->message, HasSubstr("no such image"));
  failing.start_error.reset();
  failing.wait(1min);
  EXPECT_EQ(failing.of(Side::rpm), RunState::running);

  OnePort taken;
  taken.port_stays_taken = true;
  const RequestId second = taken.ask(FlipCommand{.to = container, .wait = {}});
  EXPECT_THAT(taken.answer(second)->error->message, HasSubstr("still listened on by nc"));
  EXPECT_FALSE(taken.held);
  EXPECT_EQ(taken.state.effective, rpm);
}

TEST(Handover, ADeathOfTheContainerEndsAtTheRpm) {
  OnePort world;
  world.ask(FlipCommand{.to = container, .wait = {}});
  world.pass(Side::container);
  world.wait(1min).down(Side::container);
  EXPECT_TRUE(world.held);
  EXPECT_EQ(world.of(Side::rpm), RunState::running);
  world.pass(Side::rpm);
  EXPECT_FALSE(world.held);
  EXPECT_EQ(world.disk.route, rpm);
  EXPECT_THAT(world.kinds(), ElementsAre("flip done", "auto-revert done"));
}

TEST(Handover, ARevertOvertakesIt) {
  OnePort world;
  const RequestId flip = world.ask(FlipCommand{.to = container, .wait = {}});
  const RequestId revert = world.ask(RevertCommand{});
  EXPECT_TRUE(world.answer(flip)->error);
  EXPECT_EQ(world.of(Side::container), RunState::stopped);
  EXPECT_EQ(world.of(Side::rpm), RunState::running);
  world.pass(Side::rpm);
  EXPECT_FALSE(world.answer(revert)->error);
  EXPECT_FALSE(world.held);
  EXPECT_EQ(world.disk.route, rpm);
}

/// The container is made ready before clients are held, and a silent engine takes its time.
TEST(Handover, ARevertBeforeAnythingWasStoppedStopsNothing) {
  OnePort world;
  world.hold_silent = true;
  const RequestId flip = world.ask(FlipCommand{.to = container, .wait = {}});
  ASSERT_EQ(world.silent_tickets.size(), 1U);
  EXPECT_TRUE(awaits(world.state, world.silent_tickets[0]));
  const RequestId revert = world.ask(RevertCommand{});
  EXPECT_FALSE(awaits(world.state, world.silent_tickets[0]));  // Whoever is still at it need not hold any more.
  ASSERT_TRUE(world.answer(revert));
  EXPECT_FALSE(world.answer(revert)->error);
  EXPECT_TRUE(world.answer(flip)->error);
  EXPECT_TRUE(world.operations.empty());
  EXPECT_THAT(world.holds, ElementsAre(false));
  EXPECT_EQ(world.state.effective, rpm);
  EXPECT_EQ(world.disk.intent, std::nullopt);
}

/// The RPM has just been started again and does not listen yet: clients wait on.
TEST(Handover, ARevertOfWhatGoesBackAlreadyLetsNobodyInTooEarly) {
  OnePort world;
  world.ask(FlipCommand{.to = container, .wait = {}});
  world.wait(10s);  // The container was not healthy in time.
  ASSERT_TRUE(world.state.change->handover->going_back);
  ASSERT_EQ(world.of(Side::rpm), RunState::running);
  const RequestId revert = world.ask(RevertCommand{});
  EXPECT_TRUE(world.held);
  EXPECT_FALSE(world.answer(revert));
  world.pass(Side::rpm);
  EXPECT_FALSE(world.held);
  EXPECT_FALSE(world.answer(revert)->error);
}

/// Nobody may be held for what is not going on any more.
TEST(Handover, AFlipThatSupersedesARestoreAndIsRefusedHoldsNobody) {
  OnePort world(Durable{.route = container, .hold = {}, .intent = {}});
  world.state.policy.before_hook = true;
  ASSERT_EQ(world.state.change->kind, RecordKind::restore);
  ASSERT_TRUE(world.held);
  world.hook_error = Error{ErrorCode::refused, "not today"};
  const RequestId flip = world.ask(FlipCommand{.to = rpm, .wait = {}});
  EXPECT_TRUE(world.answer(flip)->error);
  world.wait(20s);
  EXPECT_FALSE(world.held && !world.state.change);
}

TEST(Handover, AnAgentThatIsToEndWaitsForAHandoverButNotForLong) {
  OnePort world;
  EXPECT_FALSE(halfway(world.state));
  const RequestId flip = world.ask(FlipCommand{.to = container, .wait = {}});
  EXPECT_TRUE(halfway(world.state));
  world.on(event::Stopping{});
  world.wait(5s);  // Of the 10 that it has otherwise.
  EXPECT_TRUE(world.state.change->handover->going_back);
  EXPECT_TRUE(halfway(world.state));
  world.pass(Side::rpm);
  EXPECT_FALSE(halfway(world.state));
  EXPECT_FALSE(world.held);
  EXPECT_THAT(world.answer(flip)->error->message, HasSubstr("was not healthy within 5s, and the agent is being stopped"));
  EXPECT_THAT(world.answer(world.ask(FlipCommand{.to = container, .wait = {}}))->error->message, HasSubstr("is being stopped"));

  // One that succeeds: not before it is saved and answered.
  OnePort good;
  const RequestId last = good.ask(FlipCommand{.to = container, .wait = {}});
  good.on(event::Stopping{});
  good.disk_silent = true;
  good.pass(Side::container);
  EXPECT_TRUE(halfway(good.state));
  good.on(event::Saved{good.silent_tickets.at(0), {}});
  EXPECT_FALSE(halfway(good.state));
  EXPECT_FALSE(good.answer(last)->error);
}

TEST(Handover, AnAgentThatDiedInItGoesBack) {
  OnePort world;
  world.ask(FlipCommand{.to = container, .wait = {}});  // Holding, RPM stopped, container started.
  ASSERT_TRUE(world.disk.intent);
  World next;
  next.state.policy.strategy = Strategy::handover;
  next.operate_at_once = true;
  next.boot(world.disk, {KernelRoute::Kind::none, {}});
  next.on(event::Reported{Side::rpm, Workload{.state = RunState::stopped, .revision = "r1"}});
  EXPECT_TRUE(next.operations.empty());  // Who has the port is not known before both have reported.
  next.on(event::Reported{Side::container, Workload{.state = RunState::running, .pid = 20, .revision = "r1"}});
  EXPECT_EQ(next.state.sides[Side::container].workload.state, RunState::stopped);
  EXPECT_EQ(next.state.sides[Side::rpm].workload.state, RunState::running);
  next.pass(Side::rpm);
  EXPECT_EQ(next.state.effective, rpm);
  EXPECT_FALSE(next.disk.intent);
}

/// Clients wait in the kernel, whoever is dead: they are let in when somebody serves them, not when an agent starts.
TEST(Handover, ClientsWhomADeadAgentHasLeftWaitingAreLetInOnceSomebodyServes) {
  const auto restarted = [] {
    World next;
    next.state.policy.strategy = Strategy::handover;
    next.state.policy.handover_deadline = 10s;
    next.held = true;
    next.boot(Durable{.route = rpm, .hold = {}, .intent = Intent{.from = rpm, .to = container}}, {KernelRoute::Kind::none, {}, 40s});
    EXPECT_TRUE(next.state.held_until);  // What is written at the start keeps it.
    next.on(event::Reported{Side::rpm, Workload{.state = RunState::stopped}});
    next.on(event::Reported{Side::container, Workload{.state = RunState::stopped}});
    return next;
  };
  World next = restarted();
  next.up(Side::rpm, 10).wait(2s);
  EXPECT_TRUE(next.held);
  EXPECT_THAT(alarms(next.state), Contains(HasSubstr("are held")));
  next.pass(Side::rpm);
  EXPECT_FALSE(next.held);
  EXPECT_THAT(alarms(next.state), ElementsAre());

  World nobody_serves = restarted();
  nobody_serves.wait(9s);
  EXPECT_TRUE(nobody_serves.held);
  nobody_serves.wait(2s);
  EXPECT_FALSE(nobody_serves.held);  // As in a handover: no longer than its deadline.

  World refusing = restarted();
  refusing.release_error = Error{ErrorCode::failed, "nft: no"};
  refusing.pass(Side::rpm).up(Side::rpm, 10).pass(Side::rpm).wait(5s);
  EXPECT_TRUE(refusing.held);
  EXPECT_LT(refusing.holds.size(), 20U);
  refusing.release_error.reset();
  refusing.wait(1s);
  EXPECT_FALSE(refusing.held);
}

TEST(Handover, WhoWaitsWhileAnEarlierOneIsFinishedGetsAnAnswer) {
  OnePort dead;
  dead.ask(FlipCommand{.to = container, .wait = {}});  // The container runs and is not healthy yet.
  ASSERT_TRUE(dead.disk.intent);
  World next;
  next.state.policy.strategy = Strategy::handover;
  next.operate_at_once = true;
  next.boot(dead.disk, {KernelRoute::Kind::none, {}});
  const RequestId waiting = next.ask(FlipCommand{.to = container, .wait = 60s});
  EXPECT_FALSE(next.answer(waiting));
  next.on(event::Reported{Side::rpm, Workload{.state = RunState::stopped, .revision = "r1"}});
  next.up(Side::container, 20);
  ASSERT_TRUE(next.answer(waiting));
  EXPECT_THAT(next.answer(waiting)->error->message, HasSubstr("left unfinished comes first"));
}

TEST(Handover, AnAgentRestartDisturbsNothing) {
  World world;
  world.state.policy.strategy = Strategy::handover;
  world.operate_at_once = true;
  world.boot(Durable{.route = container, .hold = {}, .intent = {}}, {KernelRoute::Kind::none, {}});
  world.on(event::Reported{Side::rpm, Workload{.state = RunState::stopped}});
  world.up(Side::container, 20).pass(Side::container).wait(1h);
  EXPECT_EQ(world.state.effective, container);
  EXPECT_TRUE(world.operations.empty());
  EXPECT_EQ(world.disk.route, Route{});  // Nothing was written either.
}

TEST(Handover, AfterABootTheRpmServesAndTheContainerIsRestored) {
  OnePort world(Durable{.route = container, .hold = {}, .intent = {}});
  world.pass(Side::container);
  EXPECT_EQ(world.state.effective, container);
  EXPECT_EQ(world.of(Side::rpm), RunState::stopped);
  // What cannot be restored is tried once.
  OnePort failing(Durable{.route = container, .hold = {}, .intent = {}});
  failing.wait(10s);
  failing.pass(Side::rpm).wait(1h);
  EXPECT_EQ(failing.state.effective, rpm);
  EXPECT_EQ(failing.disk.route, rpm);
  EXPECT_EQ(failing.operations.size(), 4U);
}

/// The next were found by the simulation.
TEST(Handover, AHoldThatCannotBeLiftedAtOnceIsTriedAgain) {
  OnePort world;
  world.release_error = Error{ErrorCode::failed, "nft: no"};
  const RequestId flip = world.ask(FlipCommand{.to = container, .wait = {}});
  world.pass(Side::container);
  EXPECT_FALSE(world.answer(flip)->error);  // The flip itself is done.
  EXPECT_THAT(world.kinds(), ElementsAre("alarm failed", "flip done"));
  world.wait(400ms);
  EXPECT_TRUE(world.held);
  world.release_error.reset();
  world.wait(200ms);
  EXPECT_FALSE(world.held);

  OnePort never;
  never.release_error = Error{ErrorCode::failed, "nft: no"};
  never.ask(FlipCommand{.to = container, .wait = {}});
  never.pass(Side::container).wait(2min);
  const std::size_t tried = never.holds.size();
  never.wait(1h);
  EXPECT_EQ(never.holds.size(), tried);  // Its lease has ended it.
}

TEST(Handover, AnAnswerThatComesTwiceIsNoStepFurther) {
  OnePort world;
  const RequestId flip = world.ask(FlipCommand{.to = container, .wait = {}});
  const Ticket last = world.state.last_ticket;
  world.on(event::PortsFree{last, {}});
  EXPECT_TRUE(world.held);
  EXPECT_FALSE(world.answer(flip));  // Still to become healthy.
  world.pass(Side::container);
  EXPECT_FALSE(world.answer(flip)->error);
}

TEST(Handover, AFlipToAnRpmThatDoesNotGetHealthyGoesBackAndARevertDoesNot) {
  OnePort world;
  world.ask(FlipCommand{.to = container, .wait = {}});
  world.pass(Side::container);
  const RequestId flip = world.ask(FlipCommand{.to = rpm, .wait = {}});
  world.fail_check(Side::rpm, 20).wait(10s).pass(Side::container);
  EXPECT_THAT(world.answer(flip)->error->message, HasSubstr("back on container after a gap of 10s"));
  EXPECT_EQ(world.of(Side::container), RunState::running);
  EXPECT_EQ(world.disk.route, container);

  const RequestId revert = world.ask(RevertCommand{});
  world.fail_check(Side::rpm, 20).wait(10s);
  EXPECT_FALSE(world.answer(revert)->error);
  EXPECT_EQ(world.of(Side::container), RunState::stopped);
  EXPECT_EQ(world.disk.route, rpm);
}

TEST(Handover, AnRpmThatWasSickWhenItWasLeftIsTriedAgainWhenTheContainerFails) {
  OnePort world;
  world.down(Side::rpm);
  ASSERT_EQ(world.state.sides[Side::rpm].verdict, Verdict::sick);
  world.ask(FlipCommand{.to = container, .wait = {}});
  world.pass(Side::container).wait(1min).down(Side::container);
  EXPECT_EQ(world.of(Side::rpm), RunState::running);
  world.pass(Side::rpm);
  EXPECT_EQ(world.disk.route, rpm);
}

/// systemd was about to restart it when it was stopped, and that is the last that was heard of it.
TEST(Handover, ASickRpmOfWhichNobodyToldThatItStoppedIsTriedAgain) {
  OnePort world;
  world.state.policy.rpm_unhealthy = RpmUnhealthy::failover;
  world.down(Side::rpm);
  world.on(event::Reported{Side::rpm, Workload{.state = RunState::starting, .revision = "r1"}});
  ASSERT_EQ(world.of(Side::container), RunState::running);
  world.on(event::Reported{Side::rpm, Workload{.state = RunState::starting, .revision = "r1"}});
  world.pass(Side::container);
  ASSERT_EQ(world.state.effective, container);
  world.down(Side::container);
  EXPECT_EQ(world.of(Side::rpm), RunState::running);

  // Or told so late, after a start of systemd's own.
  OnePort late;
  late.state.policy.rpm_unhealthy = RpmUnhealthy::failover;
  late.down(Side::rpm).up(Side::rpm, 11).pass(Side::container);
  ASSERT_EQ(late.state.effective, container);
  late.on(event::Reported{Side::rpm, Workload{.state = RunState::starting}});
  late.on(event::Reported{Side::rpm, Workload{.state = RunState::stopped}});
  late.down(Side::container);
  EXPECT_EQ(late.of(Side::rpm), RunState::running);
}

TEST(Handover, ACheckOfTheSideWithoutThePortSaysNothingOfIt) {
  OnePort world;
  world.ask(FlipCommand{.to = container, .wait = {}});
  world.pass(Side::container);
  world.on(event::Reported{Side::rpm, Workload{.state = RunState::unknown}});  // systemd does not answer.
  world.wait(1min).fail_check(Side::rpm, 3);                                   // The container's failures, by the other name.
  EXPECT_EQ(world.state.sides[Side::rpm].verdict, Verdict::unknown);
  world.fail_check(Side::container, 3);
  EXPECT_THAT(world.operations, Contains(action::Operate{Side::container, Operation::stop}));
}

TEST(Handover, WhoHasThePortAndShouldNotIsStoppedOnceItCanBe) {
  OnePort world;
  world.ask(FlipCommand{.to = container, .wait = {}});
  world.pass(Side::container);
  world.stop_error = Error{ErrorCode::timed_out, "the engine does not answer"};
  world.fail_check(Side::container, 3);
  EXPECT_EQ(world.state.effective, rpm);  // Where every failure ends, although the container could not be stopped.
  world.stop_error.reset();
  world.wait(1min);
  EXPECT_EQ(world.of(Side::container), RunState::stopped);
  EXPECT_EQ(world.of(Side::rpm), RunState::running);
}

TEST(Handover, AFailoverThatWentBackIsNotTriedAgain) {
  OnePort world;
  world.state.policy.rpm_unhealthy = RpmUnhealthy::failover;
  world.fail_check(Side::rpm, 3).fail_check(Side::container, 20).wait(10s);
  world.fail_check(Side::rpm, 20).wait(1h);
  EXPECT_THAT(world.kinds(), ElementsAre("alarm failed", "failover failed"));  // The RPM did not get well on the way back either.
}

TEST(Handover, WhatItCannotDoIsRefused) {
  OnePort world;
  EXPECT_THAT(world.answer(world.ask(FlipCommand{.to = Route::of(50), .wait = {}}))->error->message, HasSubstr("no share, no testers"));
  EXPECT_THAT(world.answer(world.ask(FlipCommand{.to = container, .wait = {}, .confirm_within = 60s}))->error->message,
              HasSubstr("not wait for a confirmation"));
  world.on(event::Reported{Side::container, Workload{.state = RunState::missing, .detail = "image shop:1 is not on this machine"}});
  EXPECT_THAT(world.answer(world.ask(FlipCommand{.to = container, .wait = {}}))->error->message, HasSubstr("image shop:1 is not on this machine"));
  EXPECT_TRUE(world.holds.empty());
}

}  // namespace
}  // namespace dualdeploy
