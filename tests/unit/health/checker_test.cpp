#include "health/checker.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <functional>
#include <memory>
#include <vector>

#include "host/clock.hpp"

namespace dualdeploy::health {
namespace {

using namespace std::chrono_literals;
using boost::asio::ip::tcp;

struct Result {
  Instant started;
  std::optional<ProbeFailure> failure;
};

class CheckerTest : public ::testing::Test {
 protected:
  /// A check that passes as long as the acceptor's queue has room.
  config::Check tcp_check(Milliseconds interval) {
    config::Check check;
    check.probe = config::TcpCheck{.port = acceptor.local_endpoint().port(), .address = "127.0.0.1"};
    check.interval = interval;
    check.timeout = 2s;
    return check;
  }
  static config::Check exec_check(std::vector<std::string> command, Milliseconds interval) {
    config::Check check;
    check.probe = config::ExecCheck{.command = std::move(command), .user = ""};
    check.interval = interval;
    check.timeout = 5s;
    return check;
  }
  std::unique_ptr<Checker> checker_of(config::Check check) {
    return std::make_unique<Checker>(loop.get_executor(), std::move(check), std::uint16_t{1}, ProbeIdentity{},
                                     [this](Instant started, std::optional<ProbeFailure> failure) {
                                       results.push_back({started, std::move(failure)});
                                       if (on_result) on_result();
                                     });
  }
  /// Runs the loop until there are so many results; false when that takes too long.
  bool until(std::size_t count, Milliseconds patience = 20s) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (results.size() < count && loop.run_one_until(end) > 0) {
    }
    return results.size() >= count;
  }

  boost::asio::io_context loop;
  tcp::acceptor acceptor{loop, tcp::endpoint(boost::asio::ip::make_address("127.0.0.1"), 0)};
  std::vector<Result> results;
  std::function<void()> on_result;
};

TEST_F(CheckerTest, ProbesAtOnceThenAtEachBeat) {
  const Instant made = host::now();
  const auto checker = checker_of(tcp_check(100ms));
  checker->set_fast(false);
  ASSERT_TRUE(until(4));
  EXPECT_LT(results[0].started - made, 90ms);
  EXPECT_GE(results[3].started - results[0].started, 299ms);
  for (const Result& result : results) EXPECT_FALSE(result.failure);
}

TEST_F(CheckerTest, SaysWhyItFailed) {
  config::Check check = tcp_check(1h);
  acceptor.close();
  const auto checker = checker_of(std::move(check));
  ASSERT_TRUE(until(1));
  ASSERT_TRUE(results[0].failure);
  EXPECT_THAT(results[0].failure->reason, ::testing::HasSubstr("connection refused"));
}

TEST_F(CheckerTest, BeatsMissedDuringALongProbeAreLeftOut) {
  const auto checker = checker_of(exec_check({"/bin/sleep", "0.25"}, 100ms));
  checker->set_fast(false);
  ASSERT_TRUE(until(3));
  // Never two at once; the next one on the beat after the end: at 300 ms and 600 ms, not at once after 250 ms.
  EXPECT_GE(results[1].started - results[0].started, 299ms);
  EXPECT_GE(results[2].started - results[0].started, 598ms);
}

TEST_F(CheckerTest, CheckNowDoesNotWaitForTheBeat) {
  const auto checker = checker_of(tcp_check(1h));
  checker->set_fast(false);
  ASSERT_TRUE(until(1));
  EXPECT_FALSE(until(2, 100ms));
  checker->check_now();
  EXPECT_TRUE(until(2));
}

TEST_F(CheckerTest, CheckNowDuringAProbeIsAnotherOneAfterIt) {
  const auto checker = checker_of(exec_check({"/bin/sleep", "0.2"}, 1h));
  checker->set_fast(false);
  EXPECT_FALSE(until(1, 50ms));
  checker->check_now();
  EXPECT_TRUE(until(2));
  EXPECT_FALSE(until(3, 400ms));
}

TEST_F(CheckerTest, FastTakesEffectWhileItRests) {
  const auto checker = checker_of(tcp_check(1h));
  checker->set_fast(false);
  ASSERT_TRUE(until(1));
  EXPECT_FALSE(until(2, 50ms));
  checker->set_fast(true);
  EXPECT_TRUE(until(3));
  checker->set_fast(false);
  EXPECT_FALSE(until(4, 400ms));
}

TEST_F(CheckerTest, MayBeDestroyedDuringAProbe) {
  auto checker = checker_of(exec_check({"/bin/sleep", "0.1"}, 10ms));
  EXPECT_FALSE(until(1, 30ms));
  checker.reset();
  loop.run();  // Ends by itself: nothing is left to do.
  EXPECT_TRUE(results.empty());
}

TEST_F(CheckerTest, MayBeDestroyedByItsOwnResult) {
  auto checker = checker_of(tcp_check(10ms));
  on_result = [&checker] { checker.reset(); };
  loop.run();
  EXPECT_EQ(results.size(), 1U);
}

TEST_F(CheckerTest, MayBeDestroyedWhileItRests) {
  auto checker = checker_of(tcp_check(1h));
  ASSERT_TRUE(until(1));
  checker.reset();
  loop.run();
  EXPECT_EQ(results.size(), 1U);
}

}  // namespace
}  // namespace dualdeploy::health
