// Agent and helper over a real socket: what the one asks, the other does.

#include "helper/server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "host/helper.hpp"
#include "support_loop.hpp"
#include "traffic/listeners.hpp"

namespace dualdeploy::helper {
namespace {

using host::CommandResult;
using ::testing::HasSubstr;

class HelperTest : public ::testing::Test {
 protected:
  HelperTest() {
    std::string pattern = std::filesystem::temp_directory_path() / "dualdeploy-helper-XXXXXX";
    directory = ::mkdtemp(pattern.data());
    socket = (directory / "helper.sock").string();
    const int listening = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(listening, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listening, 8), 0);
    server = std::make_unique<Server>(loop.get_executor(), listening);
    thread = std::thread([this] { loop.run(); });
    ::setenv("DUALDEPLOY_HELPER", socket.c_str(), 1);
  }
  ~HelperTest() override {
    ::unsetenv("DUALDEPLOY_HELPER");
    loop.stop();
    thread.join();
    std::filesystem::remove_all(directory);
  }

  static Expected<CommandResult> run(host::Command command, host::CommandLimits limits = {}) {
    boost::asio::io_context own;
    return testing::run(own, host::run_configured(std::move(command), limits));
  }

  std::filesystem::path directory;
  std::string socket;
  boost::asio::io_context loop;
  std::unique_ptr<Server> server;
  std::thread thread;
};

TEST_F(HelperTest, RunsAProgramAsTheAgentWould) {
  host::Command command;
  command.argv = {"sh", "-c", "cat; printf '\\377\\0\\033$X|%s' \"$X\"; echo \"$1\" >&2; exit 3", "sh", "$(reboot)\n'\""};
  command.input = "in\n";
  command.environment = {"X=`id`"};
  const auto result = run(command);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->exit_status, 3);
  EXPECT_EQ(result->output, std::string("in\n\377\0\033$X|`id`", 13));  // Bytes as they are, nothing expanded.
  EXPECT_EQ(result->error, "$(reboot)\n'\"\n");
  EXPECT_FALSE(result->output_cut);
}

TEST_F(HelperTest, KeepsLimitsAndTellsErrors) {
  host::Command long_one;
  long_one.argv = {"sleep", "60"};
  const auto late = run(long_one, {.deadline = Milliseconds{200}});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::timed_out);
  host::Command loud;
  loud.argv = {"head", "-c", "5000", "/dev/zero"};
  const auto cut = run(loud, {.output_bytes = 1000});
  ASSERT_TRUE(cut);
  EXPECT_EQ(cut->output, std::string(1000, '\0'));
  EXPECT_TRUE(cut->output_cut);
  host::Command missing;
  missing.argv = {"/no/such/program"};
  EXPECT_THAT(run(missing).error().message, HasSubstr("cannot run /no/such/program"));
}

TEST_F(HelperTest, SwitchesUserAndGroup) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root";
  host::Command command;
  command.argv = {"id"};
  command.uid = 54'321;
  command.gid = 54'322;
  EXPECT_EQ(run(command)->output, "uid=54321 gid=54322 groups=54322\n");
}

TEST_F(HelperTest, AProgramWhoseCallerIsGoneIsKilled) {
  const auto file = directory / "pid";
  {
    boost::asio::io_context own;
    host::Command command;
    command.argv = {"sh", "-c", "echo $$ >\"$0.new\"; mv \"$0.new\" \"$0\"; sleep 300; :", file.string()};
    boost::asio::co_spawn(own, host::run_configured(command, {.deadline = Milliseconds{300'000}}),
                          [](const std::exception_ptr&, const Expected<CommandResult>&) {});
    while (!std::filesystem::exists(file)) own.run_for(std::chrono::milliseconds(10));
  }  // With its loop the caller is gone, and so is its connection.
  pid_t pid = 0;
  std::ifstream(file) >> pid;
  ASSERT_GT(pid, 0);
  // The end of another process: nothing to wait on but itself.
  while (::kill(pid, 0) == 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(errno, ESRCH);
}

TEST_F(HelperTest, TellsWhoHoldsASocket) {
  const int listening = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::listen(listening, 1), 0);
  sockaddr_in address{};
  socklen_t length = sizeof address;
  ASSERT_EQ(::getsockname(listening, reinterpret_cast<sockaddr*>(&address), &length), 0);
  const auto listeners = traffic::tcp_listeners();
  ASSERT_TRUE(listeners);
  const auto found = std::ranges::find(*listeners, ntohs(address.sin_port), &traffic::Listener::port);
  ASSERT_NE(found, listeners->end());
  EXPECT_EQ(traffic::holders_of(found->inode, ::getpid()).any, ::getpid());
  EXPECT_EQ(traffic::holders_of(found->inode, ::getpid()).stranger, 0);
  ::close(listening);
}

TEST_F(HelperTest, AnswersItsOwnUserAlone) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root";
  std::filesystem::permissions(directory, std::filesystem::perms::all);
  std::filesystem::permissions(socket, std::filesystem::perms::all);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgid(54'321) != 0 || ::setuid(54'321) != 0) ::_exit(9);
    const auto answer = host::ask_helper(socket, {{"holders", boost::json::object{{"inode", 1}, {"pid", 1}}}});
    ::_exit(answer ? 1 : 0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(HelperTest, NobodyThereIsSaid) {
  ::setenv("DUALDEPLOY_HELPER", "/no/such/socket", 1);
  host::Command command;
  command.argv = {"true"};
  EXPECT_THAT(run(command).error().message, HasSubstr("systemctl status dualdeploy-helper"));
}

}  // namespace
}  // namespace dualdeploy::helper
