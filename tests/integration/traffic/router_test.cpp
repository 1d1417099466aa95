// The router over real nft in a network namespace of its own.

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
#include "traffic/nft_backend.hpp"
#include "unit/support_loop.hpp"

namespace dualdeploy::traffic {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

class RouterTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { separate = ::getuid() == 0 && ::unshare(CLONE_NEWNET) == 0; }
  void SetUp() override {
    if (!separate) GTEST_SKIP() << "needs root, for a network namespace";
    nft("flush ruleset");
    router.emplace(loop.get_executor(), make_nft_backend(loop.get_executor()), Router::Settings{60s},
                   [this](const Router::Drift& drift) { drifts.push_back(drift); },
                   [this](const std::optional<Error>& error) { lease_errors.push_back(error); });
    for (const std::string name : {"shop", "api"}) {
      const std::uint16_t front = name == "shop" ? 80 : 90;
      rules.services[name] = ServiceRules{
          .name = name, .ports = {config::Port{.front = front, .rpm = front, .container = static_cast<std::uint16_t>(front + 8000)}}};
    }
  }
  void TearDown() override { router.reset(); }

  template <class T>
  T run(boost::asio::awaitable<T> task) {
    return dualdeploy::testing::run(loop, std::move(task));
  }
  std::string nft(const std::string& arguments) {
    host::Command command;
    command.argv = {"nft", arguments};
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

  static inline bool separate = false;
  boost::asio::io_context loop;
  std::optional<Router> router;
  Rules rules;
  std::vector<Router::Drift> drifts;
  std::vector<std::optional<Error>> lease_errors;
};

TEST_F(RouterTest, SharesAndTestersAreReadBack) {
  ASSERT_TRUE(run(router->establish(rules)));
  const std::vector<Network> testers{Network::parse("10.0.0.0/8").value(), Network::parse("192.0.2.7").value(),
                                     Network::parse("2001:db8::/32").value()};
  for (const Route& route : {Route::of(25), Route::of(25, true), Route::of(0, false, testers), Route::of(1, true, testers), Route::of(100)}) {
    ASSERT_TRUE(run(router->set_route("shop", route))) << describe(route);
    EXPECT_EQ(observed("shop"), (KernelRoute{KernelRoute::Kind::active, route})) << describe(route);
  }
  EXPECT_TRUE(drifts.empty());
}

TEST_F(RouterTest, ARouteWithADeadlineEndsInTheKernel) {
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

TEST_F(RouterTest, TheBackendIsUsable) {
  const auto backend = make_nft_backend(loop.get_executor());
  const auto usable = run(backend->usable());
  EXPECT_TRUE(usable) << usable.error().message;
  EXPECT_EQ(nft("list ruleset"), "");  // Asking changes nothing.
}

TEST_F(RouterTest, RoutesThereAndBack) {
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

TEST_F(RouterTest, TheLeaseIsRenewedAndEndsWithoutTheRouter) {
  rules.lease = 1500ms;
  ASSERT_TRUE(run(router->establish(rules)));
  ASSERT_TRUE(run(router->set_route("shop", Route{100})));
  wait(4s);
  EXPECT_EQ(observed("shop").kind, KernelRoute::Kind::active);
  EXPECT_TRUE(drifts.empty());
  // Nobody renews any more.
  std::this_thread::sleep_for(2500ms);
  router.emplace(loop.get_executor(), make_nft_backend(loop.get_executor()), Router::Settings{60s}, [](const auto&) {}, [](const auto&) {});
  EXPECT_EQ(observed("shop"), (KernelRoute{KernelRoute::Kind::lapsed, Route{100}}));
}

TEST_F(RouterTest, ForeignChangesAreRepaired) {
  ASSERT_TRUE(run(router->establish(rules)));
  ASSERT_TRUE(run(router->set_route("shop", Route{100})));
  wait(200ms);
  std::size_t expected = 0;
  for (const std::string change :
       {"flush ruleset", "delete table inet dualdeploy", "flush map inet dualdeploy redirects",
        "add rule inet dualdeploy service-shop tcp dport 81 accept", "flush chain inet dualdeploy prerouting"}) {
    EXPECT_EQ(nft(change), "");
    for (int i = 0; i < 50 && drifts.size() <= expected; ++i) wait(20ms);
    ASSERT_EQ(drifts.size(), ++expected) << change;
    EXPECT_FALSE(drifts.back().error);
    EXPECT_THAT(drifts.back().who, HasSubstr("nft"));
    EXPECT_EQ(observed("shop"), (KernelRoute{KernelRoute::Kind::active, Route{100}}));
    EXPECT_THAT(nft("list table inet dualdeploy"), ::testing::Not(HasSubstr("dport 81")));
    wait(200ms);
  }
  EXPECT_EQ(router->repairs(), expected);
}

TEST_F(RouterTest, ForeignTablesAreNoneOfOurBusiness) {
  ASSERT_TRUE(run(router->establish(rules)));
  nft("add table inet theirs");
  wait(300ms);
  EXPECT_TRUE(drifts.empty());
}

TEST_F(RouterTest, AFlushLeavesTheKernelTranslating) {
  ASSERT_TRUE(run(router->establish(rules)));
  // Nobody runs the loop: nothing is repaired in between.
  EXPECT_EQ(nft("flush ruleset"), "");
  const std::string left = nft("list ruleset");
  EXPECT_THAT(left, HasSubstr("type nat hook prerouting"));
  EXPECT_THAT(left, ::testing::Not(HasSubstr("table inet dualdeploy {")));
  router.reset();  // It goes with the agent.
  wait(100ms);
  EXPECT_EQ(nft("list ruleset"), "");
}

TEST_F(RouterTest, AFlushAndAFlipAtOnceEndInTheRightRules) {
  ASSERT_TRUE(run(router->establish(rules)));
  for (int i = 0; i < 10; ++i) {
    nft("flush ruleset");
    ASSERT_TRUE(run(router->set_route("shop", Route{i % 2 == 0 ? 100 : 0})));
    EXPECT_EQ(observed("shop").kind, i % 2 == 0 ? KernelRoute::Kind::active : KernelRoute::Kind::none);
  }
}

TEST_F(RouterTest, AReloadKeepsTheRouteThatWasCarriedOut) {
  ASSERT_TRUE(run(router->establish(rules)));
  ASSERT_TRUE(run(router->set_route("shop", Route{100})));
  rules.services.erase("api");
  ASSERT_TRUE(run(router->establish(rules)));  // As it was computed before the flip.
  EXPECT_EQ(observed("shop").kind, KernelRoute::Kind::active);
  EXPECT_THAT(nft("list set inet dualdeploy guarded"), ::testing::Not(HasSubstr("8090")));
}

TEST_F(RouterTest, StandingDownLeavesNothingAndAFlipBringsItBack) {
  ASSERT_TRUE(run(router->establish(rules)));
  ASSERT_TRUE(run(router->set_route("shop", Route{100})));
  ASSERT_TRUE(run(router->stand_down()));
  wait(300ms);
  EXPECT_EQ(observed("shop").kind, KernelRoute::Kind::no_table);
  ASSERT_TRUE(run(router->set_route("shop", Route{100})));
  EXPECT_EQ(observed("shop").kind, KernelRoute::Kind::active);
}

TEST_F(RouterTest, AnRpmOffItsFrontPortKeepsItsWay) {
  rules.services["shop"].ports.front().rpm = 8880;
  ASSERT_TRUE(run(router->establish(rules)));
  const std::string listing = nft("list table inet dualdeploy");
  EXPECT_THAT(listing, HasSubstr("dnat to :8880"));
  EXPECT_THAT(listing, HasSubstr("tcp . 80 : goto home-shop"));
}

}  // namespace
}  // namespace dualdeploy::traffic
