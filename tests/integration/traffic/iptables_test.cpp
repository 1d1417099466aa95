// The iptables backend over the real thing in a network namespace of its own.

#include "traffic/iptables_backend.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include "host/clock.hpp"
#include "host/command.hpp"
#include "unit/support_loop.hpp"

namespace dualdeploy::traffic {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;

class IptablesTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { separate = ::getuid() == 0 && ::unshare(CLONE_NEWNET) == 0; }
  void SetUp() override {
    if (!separate) GTEST_SKIP() << "needs root, for a network namespace";
    for (const std::string program : {"iptables-legacy-restore", "ip6tables-legacy-restore"}) {
      sh(program, "*nat\nCOMMIT\n*filter\nCOMMIT\n");
      sh(program, "*filter\n:theirs - [0:0]\n-A INPUT -j theirs\n-A theirs -p tcp --dport 22 -j ACCEPT\nCOMMIT\n");
    }
    for (const std::string name : {"shop", "a-service-with-a-very-long-name"}) {
      const std::uint16_t front = name == "shop" ? 80 : 90;
      rules.services[name] = ServiceRules{
          .name = name, .ports = {config::Port{.front = front, .rpm = front, .container = static_cast<std::uint16_t>(front + 8000)}}};
    }
  }

  template <class T>
  T run(boost::asio::awaitable<T> task) {
    return dualdeploy::testing::run(loop, std::move(task));
  }
  void must(boost::asio::awaitable<Expected<void>> task) {
    const auto done = run(std::move(task));
    ASSERT_TRUE(done) << done.error().message;
  }
  std::string sh(const std::string& program, const std::string& input = "") {
    host::Command command;
    command.argv = {program};
    command.input = input;
    boost::asio::io_context own;
    auto result = dualdeploy::testing::run(own, host::run_command(std::move(command)));
    return result ? result->output + result->error : result.error().message;
  }
  std::string restore_keeping(const std::string& script) {
    host::Command command;
    command.argv = {"iptables-legacy-restore", "--noflush"};
    command.input = script;
    boost::asio::io_context own;
    auto result = dualdeploy::testing::run(own, host::run_command(std::move(command)));
    return result ? result->output + result->error : result.error().message;
  }
  /// All rules but ours, without the comments that carry the time.
  std::string others() {
    std::string kept;
    std::istringstream lines(sh("iptables-legacy-save") + sh("ip6tables-legacy-save"));
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with('#') && line.find("dualdeploy-") == std::string::npos) kept += line.substr(0, line.find('[')) + "\n";
    }
    return kept;
  }
  KernelRoute observed(const std::string& service) {
    auto seen = run(backend->observe());
    EXPECT_TRUE(seen) << seen.error().message;
    if (!seen->table_present) return {};
    const auto found = seen->services.find(service);
    return found == seen->services.end() ? KernelRoute{KernelRoute::Kind::none, {}} : found->second;
  }
  ServiceRules routed(ServiceRules service, const Route& route) {
    service.planned = route;
    service.active = !route.all_rpm();
    return service;
  }

  static inline bool separate = false;
  boost::asio::io_context loop;
  std::unique_ptr<Backend> backend = make_iptables_backend(loop.get_executor());
  Rules rules;
};

TEST_F(IptablesTest, IsUsableAndAskingChangesNothing) {
  must(backend->usable());
  EXPECT_THAT(sh("iptables-legacy-save"), Not(HasSubstr("dualdeploy-")));
}

TEST_F(IptablesTest, RoutesAreReadBackAndOthersUntouched) {
  const std::string before = others();
  must(backend->replace(rules));
  const std::vector<Network> testers{Network::parse("10.0.0.0/8").value(), Network::parse("2001:db8::/32").value()};
  for (const std::string name : {"shop", "a-service-with-a-very-long-name"}) {
    ServiceRules now = rules.services.at(name);
    for (const Route& route : {Route::of(100), Route::of(25), Route::of(7, true, testers), Route::of(0, false, testers), Route{}, Route::of(100)}) {
      const ServiceRules next = routed(now, route);
      must(backend->change(now, next, 60s));
      now = next;
      const auto kind = route.all_rpm() ? KernelRoute::Kind::none : KernelRoute::Kind::active;
      EXPECT_EQ(observed(name), (KernelRoute{kind, route})) << describe(route);
    }
    rules.services[name] = now;
  }
  // The same from nothing: what a change makes is what a replacement makes.
  const auto by_change = run(backend->observe())->services;
  must(backend->replace(rules));
  EXPECT_EQ(run(backend->observe())->services, by_change);
  EXPECT_EQ(others(), before);
  must(backend->remove());
  EXPECT_EQ(others(), before);
  EXPECT_THAT(sh("iptables-legacy-save") + sh("ip6tables-legacy-save"), Not(HasSubstr("dualdeploy-")));
}

TEST_F(IptablesTest, WithEverythingAtTheRpmThereIsNoRedirect) {
  must(backend->replace(rules));
  EXPECT_THAT(sh("iptables-legacy-save"), Not(HasSubstr("DNAT --to")));
  EXPECT_THAT(sh("iptables-legacy-save"), Not(HasSubstr("dualdeploy-s-")));
}

TEST_F(IptablesTest, ADeadlineEndsTheRedirect) {
  must(backend->replace(rules));
  ServiceRules next = routed(rules.services.at("shop"), Route::of(100));
  next.until = host::now() + 100ms;  // Less than the second that xt_time counts in.
  must(backend->change(rules.services.at("shop"), next, 60s));
  EXPECT_EQ(observed("shop"), (KernelRoute{KernelRoute::Kind::lapsed, Route::of(100)}));
}

TEST_F(IptablesTest, AHoldComesAndGoes) {
  must(backend->replace(rules));
  const std::string before = run(backend->observe())->fingerprint;
  ServiceRules held = rules.services.at("shop");
  held.held_until = host::now() + 30s;
  must(backend->change(rules.services.at("shop"), held, 60s));
  EXPECT_THAT(sh("iptables-legacy-save"), HasSubstr("-A dualdeploy-k-shop"));
  must(backend->change(held, rules.services.at("shop"), 60s));
  EXPECT_EQ(run(backend->observe())->fingerprint, before);
}

TEST_F(IptablesTest, ForeignHandsAreSeenAndMended) {
  rules.services["shop"] = routed(rules.services.at("shop"), Route::of(100));
  must(backend->replace(rules));
  const std::string before = run(backend->observe())->fingerprint;
  for (const std::string vandalism :
       {"*nat\n-F PREROUTING\nCOMMIT\n", "*nat\n-I PREROUTING 1 -p tcp --dport 80 -j ACCEPT\nCOMMIT\n",
        "*nat\n-F dualdeploy-c-shop\nCOMMIT\n", "*nat\n-A OUTPUT -j dualdeploy-out\nCOMMIT\n",
        "*filter\n-F dualdeploy-in\nCOMMIT\n"}) {
    EXPECT_EQ(restore_keeping(vandalism), "");
    EXPECT_NE(run(backend->observe())->fingerprint, before) << vandalism;
    must(backend->replace(rules));
    EXPECT_EQ(run(backend->observe())->fingerprint, before) << vandalism;
    EXPECT_EQ(observed("shop"), (KernelRoute{KernelRoute::Kind::active, Route::of(100)}));
  }
  // Of the others' rules, the one that was put before ours is still there.
  EXPECT_THAT(others(), HasSubstr("-A PREROUTING -p tcp -m tcp --dport 80 -j ACCEPT"));
}

}  // namespace
}  // namespace dualdeploy::traffic
