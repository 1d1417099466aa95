#include "host/command.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <string>

#include "support_loop.hpp"

namespace dualdeploy::host {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

Expected<CommandResult> run(std::vector<std::string> argv, std::string input = "", CommandLimits limits = {}) {
  boost::asio::io_context loop;
  Command command;
  command.argv = std::move(argv);
  command.input = std::move(input);
  return testing::run(loop, run_command(std::move(command), limits));
}

std::size_t open_files() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

TEST(Command, OutputErrorAndStatus) {
  const auto result = run({"sh", "-c", "echo out; echo err >&2; exit 3"});
  ASSERT_TRUE(result);
  EXPECT_EQ(result->output, "out\n");
  EXPECT_EQ(result->error, "err\n");
  EXPECT_EQ(result->exit_status, 3);
}

/// From now on this process lives with a kernel before 5.3.
bool take_pidfd_open_away() {
  sock_filter program[]{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),  // seccomp_data.nr
                        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_open, 0, 1),
                        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  const sock_fprog filter{4, program};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0 &&
         ::syscall(SYS_pidfd_open, ::getpid(), 0) < 0 && errno == ENOSYS;
}

/// An exit status: 0 for yes, 77 where the kernel takes no filter.
int runs_without_pidfd() {
  if (!take_pidfd_open_away()) return 77;
  try {
    const auto result = run({"sh", "-c", "echo out; exit 3"});
    return result && result->output == "out\n" && result->exit_status == 3 ? 0 : 1;
  } catch (...) {
    return 1;
  }
}

TEST(Command, NeedsNoPidfd) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(runs_without_pidfd());
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) GTEST_SKIP() << "the kernel takes no filter";
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST(Command, SignalIsAStatus) { EXPECT_EQ(run({"sh", "-c", "kill -9 $$"})->exit_status, 137); }

TEST(Command, ItsPidIsToldOnceItHasOne) {
  boost::asio::io_context loop;
  pid_t told = 0;
  Command command;
  command.argv = {"sh", "-c", "echo $$"};
  command.on_start = [&told](pid_t pid) { told = pid; };
  Command missing = command;
  missing.argv = {"/nonexistent/program"};
  EXPECT_FALSE(testing::run(loop, run_command(std::move(missing))));
  EXPECT_EQ(told, 0);
  const auto result = testing::run(loop, run_command(std::move(command)));
  ASSERT_TRUE(result);
  EXPECT_EQ(result->output, std::to_string(told) + "\n");
}

/// The value of a line of /proc/PID/status.
std::string status_line(const std::string& status, const std::string& name) {
  const std::size_t at = status.find("\n" + name + ":\t");
  return at == std::string::npos ? "" : status.substr(at + name.size() + 3, status.find('\n', at + 1) - at - name.size() - 3);
}

TEST(Command, BeginsWithNoSignalBlockedOrCaughtAndOursStayAsTheyWere) {
  static volatile sig_atomic_t caught = 0;
  struct sigaction ours {};
  struct sigaction before {};
  ours.sa_handler = [](int) { caught = 1; };
  ASSERT_EQ(::sigaction(SIGUSR1, &ours, &before), 0);
  sigset_t usr2;
  sigset_t mask;
  ::sigemptyset(&usr2);
  ::sigaddset(&usr2, SIGUSR2);
  ::pthread_sigmask(SIG_BLOCK, &usr2, &mask);
  const auto result = run({"cat", "/proc/self/status"});
  ::pthread_sigmask(SIG_SETMASK, &mask, &usr2);
  ASSERT_TRUE(result);
  EXPECT_EQ(status_line(result->output, "SigBlk"), "0000000000000000");
  EXPECT_EQ(status_line(result->output, "SigCgt"), "0000000000000000");
  EXPECT_EQ(::sigismember(&usr2, SIGUSR2), 1);
  EXPECT_EQ(::sigismember(&usr2, SIGUSR1), 0);
  ::raise(SIGUSR1);
  EXPECT_EQ(caught, 1);
  ::sigaction(SIGUSR1, &before, nullptr);
}

TEST(Command, LongInputComesBack) {
  CommandLimits limits;
  limits.output_bytes = 2 * 1024 * 1024;
  const std::string input(1024 * 1024, 'x');
  const auto result = run({"cat"}, input, limits);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->output.size(), input.size());
  EXPECT_FALSE(result->output_cut);
}

TEST(Command, OutputIsCutAndReadToItsEnd) {
  CommandLimits limits;
  limits.output_bytes = 1000;
  const auto result = run({"sh", "-c", "head -c 500000 /dev/zero"}, "", limits);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->output.size(), 1000U);
  EXPECT_TRUE(result->output_cut);
  EXPECT_EQ(result->exit_status, 0);
}

TEST(Command, DeadlineEndsTheWholeGroup) {
  CommandLimits limits;
  limits.deadline = 200ms;
  const auto result = run({"sh", "-c", "trap '' TERM; sleep 1000 & echo $! ; wait; sleep 1000"}, "", limits);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::timed_out);
}

TEST(Command, GrandchildWithThePipeDoesNotHoldItUp) {
  const auto began = std::chrono::steady_clock::now();
  const auto result = run({"sh", "-c", "sleep 30 & echo $!"});
  ASSERT_TRUE(result);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 10s);
  ::kill(std::stoi(result->output), SIGKILL);
}

TEST(Command, WhatCannotBeRunSaysWhy) {
  const auto result = run({"/no/such/program"});
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("/no/such/program: No such file"));
}

TEST(Command, LeavesNothingBehind) {
  (void)run({"true"});
  const std::size_t before = open_files();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(run({"true"}));
    ASSERT_FALSE(run({"/no/such/program"}));
  }
  EXPECT_EQ(open_files(), before);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

}  // namespace
}  // namespace dualdeploy::host
