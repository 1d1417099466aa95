#include "host/clock_watch.hpp"

#include <gtest/gtest.h>
#include <sys/timex.h>

#include <boost/asio/io_context.hpp>

namespace dualdeploy::host {
namespace {

using namespace std::chrono_literals;

/// Sets the clock a microsecond forward or back, the least that is a jump (clock_adjtime(2), ADJ_SETOFFSET).
bool set_clock(bool forward) {
  timex jump{};
  jump.modes = ADJ_SETOFFSET;
  jump.time.tv_sec = forward ? 0 : -1;
  jump.time.tv_usec = forward ? 1 : 999'999;
  return ::clock_adjtime(CLOCK_REALTIME, &jump) >= 0;
}

TEST(ClockWatchTest, TellsEachTimeTheClockIsSet) {
  boost::asio::io_context loop;
  int told = 0;
  const auto watch = ClockWatch::open(loop.get_executor(), [&told] { ++told; });
  ASSERT_TRUE(watch) << watch.error().message;
  loop.run_for(50ms);
  EXPECT_EQ(told, 0);
  for (int i = 1; i <= 4; ++i) {
    if (!set_clock(i % 2 == 1)) GTEST_SKIP() << "needs CAP_SYS_TIME";
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    loop.restart();
    while (told < i && loop.run_one_until(deadline) > 0) {
    }
    ASSERT_EQ(told, i);
  }
}

}  // namespace
}  // namespace dualdeploy::host
