#include "workload/process_watch.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <vector>

namespace dualdeploy::workload {
namespace {

using namespace std::chrono_literals;

/// Both ways: pidfd where the kernel has it, and what is done on Linux 3.10.
class ProcessWatchTest : public ::testing::TestWithParam<ProcessWatch::Means> {
 protected:
  static pid_t sleeper() {
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::pause();
      ::_exit(0);
    }
    return pid;
  }
  void end(pid_t pid) {
    ASSERT_EQ(::kill(pid, SIGKILL), 0);
    ended.push_back(pid);
  }
  void TearDown() override {
    for (const pid_t pid : ended) ::waitpid(pid, nullptr, 0);
  }
  bool until_told() {
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    loop.restart();
    while (told.empty() && loop.run_one_until(deadline) > 0) {
    }
    return !told.empty();
  }

  boost::asio::io_context loop;
  std::vector<pid_t> told;
  std::vector<pid_t> ended;
  ProcessWatch watch{loop.get_executor(), [this](pid_t pid) { told.push_back(pid); }, GetParam()};
};

TEST_P(ProcessWatchTest, TellsOfADeathBeforeTheParentHasFetchedIt) {
  const pid_t pid = sleeper();
  watch.follow(pid);
  loop.run_for(250ms);
  EXPECT_TRUE(told.empty());
  end(pid);
  ASSERT_TRUE(until_told());
  EXPECT_EQ(told, std::vector{pid});
}

TEST_P(ProcessWatchTest, OneThatIsGoneAlreadyIsToldToo) {
  const pid_t pid = sleeper();
  end(pid);
  ::waitpid(pid, nullptr, 0);
  ended.clear();
  watch.follow(pid);
  ASSERT_TRUE(until_told());
  EXPECT_EQ(told, std::vector{pid});
}

TEST_P(ProcessWatchTest, OnlyTheLastOneCounts) {
  const pid_t first = sleeper();
  const pid_t second = sleeper();
  watch.follow(first);
  watch.follow(second);
  end(first);
  loop.restart();
  loop.run_for(300ms);
  EXPECT_TRUE(told.empty());
  end(second);
  ASSERT_TRUE(until_told());
  EXPECT_EQ(told, std::vector{second});
}

TEST_P(ProcessWatchTest, StoppedItIsSilent) {
  const pid_t pid = sleeper();
  watch.follow(pid);
  watch.stop();
  end(pid);
  loop.restart();
  loop.run_for(300ms);
  EXPECT_TRUE(told.empty());
}

INSTANTIATE_TEST_SUITE_P(, ProcessWatchTest, ::testing::Values(ProcessWatch::Means::best, ProcessWatch::Means::polling),
                         [](const auto& each) { return each.param == ProcessWatch::Means::best ? "best" : "polling"; });

}  // namespace
}  // namespace dualdeploy::workload
