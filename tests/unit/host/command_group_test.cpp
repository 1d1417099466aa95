#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/ip/tcp.hpp>
#include <cstdio>
#include <cstdlib>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "host/command.hpp"
#include "host/spawn.hpp"
#include "support_loop.hpp"

/// Programs that do not end, or of which many run at once.
namespace dualdeploy::host {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;

/// Whether a process still runs; waits a little for its end. A zombie has ended: whoever adopted it reaps it when it likes.
bool lives(pid_t pid) {
  for (int i = 0; i < 100; ++i) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string line;
    if (!std::getline(file, line)) return false;
    const std::size_t name_ends = line.rfind(')');
    if (name_ends == std::string::npos || line.substr(name_ends, 3) == ") Z") return false;
    ::usleep(10'000);
  }
  return true;
}

TEST(CommandGroup, TheDeadlineEndsGrandchildrenToo) {
  const auto file = std::filesystem::temp_directory_path() / ("command_group_test." + std::to_string(::getpid()));
  boost::asio::io_context loop;
  Command command;
  command.argv = {"sh", "-c", "(trap '' TERM; sleep 300 & echo $! >" + file.string() + "; wait) & wait"};
  CommandLimits limits;
  limits.deadline = 300ms;
  const auto began = std::chrono::steady_clock::now();
  const auto result = testing::run(loop, run_command(command, limits));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::timed_out);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
  pid_t grandchild = 0;
  std::FILE* written = std::fopen(file.c_str(), "r");
  ASSERT_NE(written, nullptr);
  EXPECT_EQ(std::fscanf(written, "%d", &grandchild), 1);
  std::fclose(written);
  std::filesystem::remove(file);
  ASSERT_GT(grandchild, 0);
  EXPECT_FALSE(lives(grandchild));
}

TEST(CommandGroup, WhatDoesNotListenIsKilledAfterTheGrace) {
  boost::asio::io_context loop;
  Command command;
  command.argv = {"sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"};
  CommandLimits limits;
  limits.deadline = 200ms;
  const auto began = std::chrono::steady_clock::now();
  const auto result = testing::run(loop, run_command(command, limits));
  ASSERT_FALSE(result);
  EXPECT_GE(std::chrono::steady_clock::now() - began, 690ms);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
}

TEST(CommandGroup, InputThatIsNotReadIsNoError) {
  boost::asio::io_context loop;
  Command command;
  command.argv = {"true"};
  command.input.assign(1024 * 1024, 'x');
  const auto result = testing::run(loop, run_command(command));
  ASSERT_TRUE(result);
  EXPECT_EQ(result->exit_status, 0);
}

TEST(CommandGroup, TheEnvironmentIsMinimal) {
  ::setenv("DUALDEPLOY_TEST_SECRET", "1", 1);
  boost::asio::io_context loop;
  Command command;
  command.argv = {"env"};
  command.environment = {"PORT=80"};
  pid_t pid = 0;
  command.on_start = [&pid](pid_t started) { pid = started; };
  const auto result = testing::run(loop, run_command(command));
  ::unsetenv("DUALDEPLOY_TEST_SECRET");
  ASSERT_TRUE(result);
  EXPECT_EQ(result->output, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nLANG=C\nPORT=80\n");
  EXPECT_GT(pid, 0);
}

TEST(CommandGroup, NothingOfOursIsOpenInIt) {
  boost::asio::io_context loop;
  // Without O_CLOEXEC, as Asio opens them.
  const boost::asio::ip::tcp::socket ours(loop, boost::asio::ip::tcp::v4());
  Command command;
  command.argv = {"ls", "-l", "/proc/self/fd"};
  const auto result = testing::run(loop, run_command(command));
  ASSERT_TRUE(result);
  EXPECT_THAT(result->output, HasSubstr("pipe:"));
  EXPECT_THAT(result->output, Not(HasSubstr("socket:")));
}

TEST(CommandGroup, NoProgramAtAllIsAnError) {
  boost::asio::io_context loop;
  EXPECT_FALSE(testing::run(loop, run_command(Command{})));
}

boost::asio::awaitable<void> one(int number, std::vector<std::string>& outputs, int& left) {
  Command command;
  command.argv = {"sh", "-c", "cat; sleep 0.05; echo " + std::to_string(number)};
  command.input = "in ";
  const auto result = co_await run_command(command);
  if (result) outputs[static_cast<std::size_t>(number)] = result->output;
  --left;
}

TEST(CommandGroup, ManyAtOnce) {
  constexpr int many = 50;
  boost::asio::io_context loop;
  std::vector<std::string> outputs(many);
  int left = many;
  for (int i = 0; i < many; ++i) spawn(loop.get_executor(), "test", one(i, outputs, left));
  loop.run_for(30s);
  EXPECT_EQ(left, 0);
  for (int i = 0; i < many; ++i) EXPECT_EQ(outputs[static_cast<std::size_t>(i)], "in " + std::to_string(i) + "\n");
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
}

}  // namespace
}  // namespace dualdeploy::host
