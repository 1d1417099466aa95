// The router over both backends, real nft and real (legacy) iptables, in a network namespace of its own.

#include "traffic/router.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdlib>

#include "host/clock.hpp"
#include "host/command.hpp"
#include "traffic/iptables_backend.hpp"
#include "traffic/nft_backend.hpp"
#include "traffic/rescue.hpp"
#include "integration/traffic/unwilling_backend.hpp"
#include "unit/support_loop.hpp"

namespace dualdeploy::traffic {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

/// The router knows then how the rules look that it has written.
constexpr auto read_back = 1s;

/// What differs between the backends for whoever meddles with their rules.
struct Kind {
  std::string name;
  std::unique_ptr<Backend> (*make)(boost::asio::any_io_executor);
  std::string list_ours;  ///< Prints our rules; all that is left of them after a flush.
  std::string flush;
  std::vector<std::string> vandalism;
  std::string home;       ///< The rule that leads to an RPM on port 8880.
};

void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

const Kind kinds[]{
    {"nftables",
     make_nft_backend,
     "nft list table inet dualdeploy 2>/dev/null",
     "nft flush ruleset",
     {"nft flush ruleset", "nft delete table inet dualdeploy", "nft flush map inet dualdeploy redirects",
      "nft add rule inet dualdeploy service-shop tcp dport 81 accept", "nft flush chain inet dualdeploy prerouting"},
     "dnat to :8880"},
    {"iptables",
     make_iptables_backend,
     "(iptables-legacy-save; ip6tables-legacy-save) | grep dualdeploy-",
     "for t in nat filter; do iptables-legacy -t $t -F; ip6tables-legacy -t $t -F; done",
     {"for t in nat filter; do iptables-legacy -t $t -F; ip6tables-legacy -t $t -F; done", "iptables-legacy -t nat -F PREROUTING",
      "ip6tables-legacy -t nat -F dualdeploy-s-shop", "iptables-legacy -t nat -A dualdeploy-s-shop -p tcp --dport 81 -j ACCEPT",
      "iptables-legacy -t nat -I PREROUTING 1 -p tcp --dport 81 -j ACCEPT",
      "printf '*nat\nCOMMIT\n*filter\nCOMMIT\n' | iptables-legacy-restore"},
     "DNAT --to-destination :8880"},
};

class RouterTest : public ::testing::TestWithParam<Kind> {
 protected:
  static void SetUpTestSuite() { separate = ::getuid() == 0 && ::unshare(CLONE_NEWNET) == 0; }
  void SetUp() override { begin(); }
  void begin() {
    if (!separate) GTEST_SKIP() << "needs root, for a network namespace";
    for (const Kind& each : kinds) sh(each.flush);
    sh("for f in iptables ip6tables; do for t in nat filter; do $f-legacy -t $t -X; done; done");
    for (const std::string name : {"shop", "api"}) {
      const std::uint16_t front = name == "shop" ? 80 : 90;
      rules.services[name] = ServiceRules{
          .name = name, .ports = {config::Port{.front = front, .rpm = front, .container = static_cast<std::uint16_t>(front + 8000)}}};
    }
    begin_again();
  }
  /// Another router, which knows nothing of the one before.
  void begin_again() {
    router.emplace(loop.get_executor(), std::make_unique<testing::UnwillingBackend>(kind.make(loop.get_executor()), will), Router::Settings{drift_check},
                   [this](const Router::Drift& drift) { drifts.push_back(drift); },
                   [this](const std::optional<Error>& error) { lease_errors.push_back(error); });
  }
  void TearDown() override { router.reset(); }

  template <class T>
  T run(boost::asio::awaitable<T> task) {
    return dualdeploy::testing::run(loop, std::move(task));
  }
  std::string sh(const std::string& line) {
    host::Command command;
    command.argv = {"sh", "-c", line};
    boost::asio::io_context own;
    auto result = dualdeploy::testing::run(own, host::run_command(std::move(command)));
    return result ? result->output + result->error : result.error().message;
  }
  void wait(std::chrono::milliseconds time) {
    boost::asio::steady_timer timer(loop, time);
    bool over = false;
    timer.async_wait([&over](const boost::system::error_code&) { over = true; });
    loop.restart();
    while (!over) loop.run_one();
  }
  KernelRoute observed(const std::string& service) {
    auto seen = run(router->observe());
    EXPECT_TRUE(seen) << seen.error().message;
    if (!seen->table_present) return {};
    const auto found = seen->services.find(service);
    return found == seen->services.end() ? KernelRoute{KernelRoute::Kind::none, {}} : found->second;
  }

  const Kind& kind = GetParam();
  static inline bool separate = false;
  boost::asio::io_context loop;
  dualdeploy::testing::Will will;
  Milliseconds drift_check{60s};
  std::optional<Router> router;
  Rules rules;
  std::vector<Router::Drift> drifts;
  std::vector<std::optional<Error>> lease_errors;
};

/// A way back that failed is not done by asking again for what is wanted already.
TEST_P(RouterTest, AWayBackThatFailedIsCarriedOutOnceItCanBe) {
  ASSERT_TRUE(run(router->establish(rules)));
  ASSERT_TRUE(run(router->set_route("shop", Route::of(100))));
  will.refuses = true;
  for (int i = 0; i < 2; ++i) {
    EXPECT_FALSE(run(router->set_route("shop", Route{})));
    EXPECT_EQ(observed("shop").kind, KernelRoute::Kind::active);
  }
  will.refuses = false;
  ASSERT_TRUE(run(router->set_route("shop", Route{})));
  EXPECT_EQ(observed("shop").kind, KernelRoute::Kind::none);
}

TEST_P(RouterTest, SharesAndTestersAreReadBack) {
  ASSERT_TRUE(run(router->establish(rules)));
  const std::vector<Network> testers{Network::parse("10.0.0.0/8").value(), Network::parse("192.0.2.7").value(),
                                     Network::parse("2001:db8::/32").value()};
  for (const Route& route : {Route::of(25), Route::of(25, true), Route::of(0, false, testers), Route::of(1, true, testers), Route::of(100)}) {
    ASSERT_TRUE(run(router->set_route("shop", route))) << describe(route);
    EXPECT_EQ(observed("shop"), (KernelRoute{KernelRoute::Kind::active, route})) << describe(route);
  }
  EXPECT_TRUE(drifts.empty());
}

TEST_P(RouterTest, ARouteWithADeadlineEndsInTheKernel) {
  ASSERT_TRUE(run(router->establish(rules)));
  ASSERT_TRUE(run(router->set_route("shop", Route{100}, host::now() + 1500ms)));
  EXPECT_EQ(observed("shop").kind, KernelRoute::Kind::active);
  wait(1600ms);
  EXPECT_EQ(observed("shop").kind, KernelRoute::Kind::lapsed);
  // A service beside it is changed and renewed, and what has ended stays ended.
  ASSERT_TRUE(run(router->set_route("api", Route{100})));
  EXPECT_EQ(observed("shop").kind, KernelRoute::Kind::lapsed);
  ASSERT_TRUE(run(router->set_route("shop", Route{})));
  EXPECT_EQ(observed("shop").kind, KernelRoute::Kind::none);
  EXPECT_TRUE(drifts.empty());
}

/// As an agent finds it that follows one which was killed in a handover.
TEST_P(RouterTest, AHoldIsReadBackAndKept) {
  ASSERT_TRUE(run(router->establish(rules)));
  ASSERT_TRUE(run(router->hold("shop", host::now() + 30s)));
  const auto left = [this] {
    const auto seen = run(router->observe());
    EXPECT_TRUE(seen) << seen.error().message;
    EXPECT_LE(seen->held.size(), 1U);
    const auto found = seen->held.find({config::Protocol::tcp, 80});
    return found == seen->held.end() ? Milliseconds{0} : found->second;
  };
  EXPECT_GT(left(), 20s);
  EXPECT_LE(left(), 30s);
  begin_again();
  rules.services["shop"].held_until = host::now() + left();
  ASSERT_TRUE(run(router->establish(rules)));
  EXPECT_GT(left(), 15s);
  ASSERT_TRUE(run(router->hold("shop", {})));
  EXPECT_EQ(left(), 0s);
  ASSERT_TRUE(run(router->hold("shop", host::now() + 2s)));
  wait(2100ms);
  EXPECT_EQ(left(), 0s);  // By itself.
  EXPECT_TRUE(drifts.empty());
}

TEST_P(RouterTest, ARenewalLeavesHoldsAsTheyAre) {
  rules.lease = 1s;
  ASSERT_TRUE(run(router->establish(rules)));
  ASSERT_TRUE(run(router->hold("shop", host::now() + 30s)));
  wait(1s);
  const auto seen = run(router->observe());
  ASSERT_TRUE(seen) << seen.error().message;
  ASSERT_EQ(seen->held.size(), 1U);
  EXPECT_GT(seen->held.begin()->second, 20s);
  EXPECT_LE(seen->held.begin()->second, 29s);
  EXPECT_TRUE(lease_errors.empty());
}

TEST_P(RouterTest, TheBackendIsUsable) {
  const auto backend = kind.make(loop.get_executor());
  const auto usable = run(backend->usable());
  EXPECT_TRUE(usable) << usable.error().message;
  EXPECT_EQ(sh(kind.list_ours), "");  // Asking leaves nothing.
}

TEST_P(RouterTest, RoutesThereAndBack) {
  EXPECT_EQ(observed("shop").kind, KernelRoute::Kind::no_table);
  ASSERT_TRUE(run(router->establish(rules)));
  EXPECT_EQ(observed("shop").kind, KernelRoute::Kind::none);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(run(router->set_route("shop", Route{100})));
    EXPECT_EQ(observed("shop"), (KernelRoute{KernelRoute::Kind::active, Route{100}}));
    EXPECT_EQ(observed("api").kind, KernelRoute::Kind::none);
    ASSERT_TRUE(run(router->set_route("shop", Route{})));
    EXPECT_EQ(observed("shop").kind, KernelRoute::Kind::none);
  }
  EXPECT_TRUE(drifts.empty());
}

TEST_P(RouterTest, TheLeaseIsRenewedAndEndsWithoutTheRouter) {
  rules.lease = 1500ms;
  ASSERT_TRUE(run(router->establish(rules)));
  ASSERT_TRUE(run(router->set_route("shop", Route{100})));
  wait(4s);
  EXPECT_EQ(observed("shop").kind, KernelRoute::Kind::active);
  EXPECT_TRUE(drifts.empty());
  // Nobody renews any more.
  std::this_thread::sleep_for(2500ms);
  router.emplace(loop.get_executor(), kind.make(loop.get_executor()), Router::Settings{60s}, [](const auto&) {}, [](const auto&) {});
  EXPECT_EQ(observed("shop"), (KernelRoute{KernelRoute::Kind::lapsed, Route{100}}));
}

TEST_P(RouterTest, ForeignChangesAreRepaired) {
  ASSERT_TRUE(run(router->establish(rules)));
  ASSERT_TRUE(run(router->set_route("shop", Route{100})));
  wait(read_back);
  std::size_t expected = 0;
  for (const std::string& change : kind.vandalism) {
    EXPECT_EQ(sh(change), "");
    for (int i = 0; i < 50 && drifts.size() <= expected; ++i) wait(20ms);
    ASSERT_EQ(drifts.size(), ++expected) << change;
    EXPECT_FALSE(drifts.back().error);
    EXPECT_THAT(drifts.back().who, HasSubstr(kind.name == "nftables" ? "nft" : "somebody"));
    EXPECT_EQ(observed("shop"), (KernelRoute{KernelRoute::Kind::active, Route{100}}));
    EXPECT_THAT(sh(kind.list_ours), ::testing::Not(HasSubstr("dport 81 ")));
    wait(read_back);
  }
  EXPECT_EQ(router->repairs(), expected);
}

/// It is tried again at the pace of the periodic check: whoever is on call finds a record of it, not a flood of them.
TEST_P(RouterTest, WhatCannotBePutBackIsToldOnce) {
  ASSERT_TRUE(run(router->establish(rules)));
  ASSERT_TRUE(run(router->set_route("shop", Route{100})));
  wait(read_back);
  will.refuses = true;
  EXPECT_EQ(sh(kind.vandalism.front()), "");
  wait(3s);
  ASSERT_EQ(drifts.size(), 1);
  EXPECT_TRUE(drifts.front().error);
  will.refuses = false;
  ASSERT_TRUE(run(router->set_route("shop", Route{100})));
  EXPECT_EQ(observed("shop"), (KernelRoute{KernelRoute::Kind::active, Route{100}}));
}

/// Before the rules have been read back nobody can tell what in them is foreign: they are written once more.
TEST_P(RouterTest, AForeignChangeRightAfterOurOwnDoesNotStay) {
  ASSERT_TRUE(run(router->establish(rules)));
  ASSERT_TRUE(run(router->set_route("shop", Route{100})));
  wait(150ms);
  for (const std::string& change : kind.vandalism) sh(change);
  wait(read_back);
  EXPECT_EQ(observed("shop"), (KernelRoute{KernelRoute::Kind::active, Route{100}}));
  EXPECT_THAT(sh(kind.list_ours), ::testing::Not(HasSubstr("dport 81 ")));
}

/// Many commands in a row: none waits until the rules of the one before have been read back.
TEST_P(RouterTest, WhatIsSeenWhileAChangeIsMadeIsNotTakenForForeign) {
  ASSERT_TRUE(run(router->establish(rules)));
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(run(router->set_route("shop", Route{i % 2 == 0 ? 100 : 0})));
    sh("nft add table inet theirs; nft delete table inet theirs; iptables-legacy -t nat -N theirs; iptables-legacy -t nat -X theirs");
    wait(std::chrono::milliseconds(i % 10 * 10));
  }
  wait(read_back);
  EXPECT_TRUE(drifts.empty());
  EXPECT_EQ(observed("shop").kind, KernelRoute::Kind::none);
}

/// nft need not run for that: the kernel numbers its generations.
TEST_P(RouterTest, RulesThatNobodyHasTouchedAreNotReadAgain) {
  if (kind.name != "nftables") GTEST_SKIP() << "iptables has no such number";
  drift_check = 50ms;
  begin();
  rules.lease = 1500ms;
  ASSERT_TRUE(run(router->establish(rules)));
  wait(read_back);
  const int before = will.observations;
  wait(read_back);
  EXPECT_EQ(will.observations, before);
  sh("nft add table inet theirs");
  wait(read_back);
  EXPECT_GT(will.observations, before);
  // A lease that is renewed does not end...
  ASSERT_TRUE(run(router->set_route("shop", Route{100})));
  wait(read_back);
  const int flipped = will.observations;
  wait(2s);
  EXPECT_EQ(will.observations, flipped);
  EXPECT_EQ(observed("shop").kind, KernelRoute::Kind::active);
  // ...and what has a deadline does, without a new generation.
  ASSERT_TRUE(run(router->set_route("shop", Route{100}, host::now() + 30s)));
  wait(read_back);
  const int bounded = will.observations;
  wait(read_back);
  EXPECT_GT(will.observations, bounded + 1);
  EXPECT_TRUE(drifts.empty());
}

TEST_P(RouterTest, EveryTransactionMakesAnotherGeneration) {
  if (kind.name != "nftables") GTEST_SKIP() << "iptables has no such number";
  const auto backend = kind.make(loop.get_executor());
  EXPECT_FALSE(backend->same_as_observed());
  ASSERT_TRUE(run(backend->observe()));
  EXPECT_TRUE(backend->same_as_observed());
  sh("nft add table inet theirs");
  EXPECT_FALSE(backend->same_as_observed());
  ASSERT_TRUE(run(backend->observe()));
  EXPECT_TRUE(backend->same_as_observed());
}

TEST_P(RouterTest, ForeignTablesAreNoneOfOurBusiness) {
  ASSERT_TRUE(run(router->establish(rules)));
  wait(read_back);
  sh("nft add table inet theirs; iptables-legacy -t nat -N theirs");
  wait(300ms);
  EXPECT_TRUE(drifts.empty());
}

TEST_P(RouterTest, AFlushLeavesTheKernelTranslating) {
  ASSERT_TRUE(run(router->establish(rules)));
  // Nobody runs the loop: nothing is repaired in between.
  EXPECT_EQ(sh("nft flush ruleset"), "");
  EXPECT_THAT(sh("nft list ruleset"), HasSubstr("type nat hook prerouting"));
  router.reset();  // It goes with the agent.
  wait(100ms);
  EXPECT_EQ(sh("nft list ruleset"), "");
}

TEST_P(RouterTest, AFlushAndAFlipAtOnceEndInTheRightRules) {
  ASSERT_TRUE(run(router->establish(rules)));
  for (int i = 0; i < 10; ++i) {
    sh(kind.flush);
    ASSERT_TRUE(run(router->set_route("shop", Route{i % 2 == 0 ? 100 : 0})));
    if (kind.name == "iptables") wait(read_back);  // Rules can be added to chains that nothing leads to any more.
    EXPECT_EQ(observed("shop").kind, i % 2 == 0 ? KernelRoute::Kind::active : KernelRoute::Kind::none);
  }
}

TEST_P(RouterTest, AReloadKeepsTheRouteThatWasCarriedOut) {
  ASSERT_TRUE(run(router->establish(rules)));
  ASSERT_TRUE(run(router->set_route("shop", Route{100})));
  rules.services.erase("api");
  ASSERT_TRUE(run(router->establish(rules)));  // As it was computed before the flip.
  EXPECT_EQ(observed("shop").kind, KernelRoute::Kind::active);
  EXPECT_THAT(sh(kind.list_ours), ::testing::Not(HasSubstr("8090")));
}

TEST_P(RouterTest, StandingDownLeavesNothingAndAFlipBringsItBack) {
  ASSERT_TRUE(run(router->establish(rules)));
  ASSERT_TRUE(run(router->set_route("shop", Route{100})));
  ASSERT_TRUE(run(router->stand_down()));
  wait(300ms);
  EXPECT_EQ(observed("shop").kind, KernelRoute::Kind::no_table);
  ASSERT_TRUE(run(router->set_route("shop", Route{100})));
  EXPECT_EQ(observed("shop").kind, KernelRoute::Kind::active);
}

TEST_P(RouterTest, AnRpmOffItsFrontPortKeepsItsWay) {
  rules.services["shop"].ports.front().rpm = 8880;
  ASSERT_TRUE(run(router->establish(rules)));
  EXPECT_THAT(sh(kind.list_ours), HasSubstr(kind.home));
  ASSERT_TRUE(run(router->set_route("shop", Route{100})));
  EXPECT_EQ(observed("shop"), (KernelRoute{KernelRoute::Kind::active, Route{100}}));
  ASSERT_TRUE(run(router->set_route("shop", Route{})));
  EXPECT_THAT(sh(kind.list_ours), HasSubstr(kind.home));
  // A rescue ends the redirect and keeps the way.
  ASSERT_TRUE(run(router->set_route("shop", Route{100})));
  router.reset();
  const auto rescued = remove_rules();
  ASSERT_TRUE(rescued) << rescued.error().message;
  EXPECT_THAT(*rescued, HasSubstr(kind.name + ": redirects removed"));
  EXPECT_THAT(sh(kind.list_ours), HasSubstr(kind.home));
  router.emplace(loop.get_executor(), kind.make(loop.get_executor()), Router::Settings{60s}, [](const auto&) {}, [](const auto&) {});
  EXPECT_EQ(observed("shop"), (KernelRoute{KernelRoute::Kind::lapsed, Route{100}}));
}

TEST_P(RouterTest, ARescueLeavesNothing) {
  ASSERT_TRUE(run(router->establish(rules)));
  ASSERT_TRUE(run(router->set_route("shop", Route{100})));
  router.reset();
  EXPECT_THAT(remove_rules().value(), HasSubstr(kind.name));
  EXPECT_EQ(sh(kind.list_ours), "");
  EXPECT_EQ(remove_rules().value(), "there were no rules of ours");
}

INSTANTIATE_TEST_SUITE_P(, RouterTest, ::testing::ValuesIn(kinds), [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace dualdeploy::traffic
