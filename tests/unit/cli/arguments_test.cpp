#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

#include "cli/commands.hpp"

/// The command line as it is typed, and what then stands on the control socket.
namespace dualdeploy::cli {
namespace {

/// Answers one connection with `answer` and keeps what was asked.
class OneAnswer {
 public:
  explicit OneAnswer(std::string answer) : answer_(std::move(answer)) {
    char pattern[] = "/tmp/dualctl-test-XXXXXX";
    directory_ = ::mkdtemp(pattern);
    listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path().copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_, 1), 0);
    thread_ = std::thread([this] { serve(); });
  }
  OneAnswer(const OneAnswer&) = delete;
  ~OneAnswer() {
    ::shutdown(listener_, SHUT_RDWR);  // Nobody called: accept() gives up.
    finish();
    ::close(listener_);
    std::filesystem::remove_all(directory_);
  }
  [[nodiscard]] std::string path() const { return directory_ + "/socket"; }
  /// The whole request, after the command has run.
  [[nodiscard]] std::string asked() {
    finish();
    return asked_;
  }

 private:
  void finish() {
    if (thread_.joinable()) thread_.join();
  }
  void serve() {
    const int peer = ::accept(listener_, nullptr, nullptr);
    if (peer < 0) return;
    char chunk[4096];
    for (;;) {
      const ssize_t count = ::read(peer, chunk, sizeof chunk);
      if (count <= 0) break;
      asked_.append(chunk, static_cast<std::size_t>(count));
      const std::size_t head = asked_.find("\r\n\r\n");
      if (head == std::string::npos) continue;
      const std::size_t length = asked_.find("Content-Length: ");
      const std::size_t body = length < head ? std::stoul(asked_.substr(length + 16)) : 0;
      if (asked_.size() >= head + 4 + body) break;
    }
    (void)!::write(peer, answer_.data(), answer_.size());
    ::close(peer);
  }

  std::string answer_;
  std::string directory_;
  std::string asked_;
  int listener_ = -1;
  std::thread thread_;
};

std::string http(const std::string& status, const std::string& body) {
  return "HTTP/1.1 " + status + "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

/// What main() does, without the process around it. Throws CLI::ParseError.
int dualctl(std::string arguments, const std::string& socket = "/nonexistent/socket") {
  CLI::App app{"", "dualctl"};
  Context context;
  context.socket = socket;
  app.add_flag("--json", context.json);
  app.add_option("--socket", context.socket);
  app.require_subcommand(1);
  app.fallthrough();
  add_status(app, context);
  add_flip(app, context);
  add_changes(app, context);
  add_drain(app, context);
  add_history(app, context);
  add_check_config(app, context);
  add_version(app, context);
  app.parse(std::move(arguments));
  return context.run();
}

std::string first_line(const std::string& request) { return request.substr(0, request.find("\r\n")); }
std::string body_of(const std::string& request) { return request.substr(request.find("\r\n\r\n") + 4); }

TEST(Arguments, NeedACommand) { EXPECT_THROW(dualctl(""), CLI::ParseError); }
TEST(Arguments, NeedASideThatExists) { EXPECT_THROW(dualctl("flip shop nowhere"), CLI::ParseError); }
TEST(Arguments, NeedAReasonForAHold) { EXPECT_THROW(dualctl("hold shop"), CLI::ParseError); }
TEST(Arguments, WithoutAUnitIsNoTimeout) { EXPECT_EQ(dualctl("flip shop container --timeout 30"), 2); }

TEST(Arguments, OfFlipBecomeTheRequest) {
  OneAnswer agent(http("200 OK", R"({"message":"flipped"})"));
  EXPECT_EQ(dualctl("flip shop container --reason why --wait --timeout 5s", agent.path()), 0);
  const std::string asked = agent.asked();
  EXPECT_EQ(first_line(asked), "POST /v1/services/shop/flip HTTP/1.1");
  EXPECT_EQ(body_of(asked), 
            R"({"to":"container","percent":100,"sticky":false,"reason":"why","force":false,"wait":true,"timeout":"5s","dry_run":false})");
}

TEST(Arguments, OfACanaryBecomeTheRequest) {
  OneAnswer agent(http("200 OK", R"({"message":"flipped"})"));
  EXPECT_EQ(dualctl("flip shop container --percent 5 --sticky --testers 10.0.0.0/8,2001:db8::/32 --confirm-within 5m --force",
                    agent.path()),
            0);
  EXPECT_EQ(body_of(agent.asked()),
            R"({"to":"container","percent":5,"sticky":true,"reason":"","force":true,"wait":false,"timeout":"30s","dry_run":false,)"
            R"("confirm_within":"5m","testers":["10.0.0.0/8","2001:db8::/32"]})");
}

TEST(Arguments, ADryRunThatWouldBeRefusedSaysSoInItsStatus) {
  OneAnswer refused(http("200 OK", R"({"message":"would be refused: held","would_be_done":false})"));
  EXPECT_EQ(dualctl("flip shop container --dry-run", refused.path()), 3);
  OneAnswer possible(http("200 OK", R"({"message":"would send","would_be_done":true})"));
  EXPECT_EQ(dualctl("flip shop container --dry-run", possible.path()), 0);
}

TEST(Arguments, OfTheProgramMayStandAfterTheCommand) {
  OneAnswer agent(http("200 OK", R"({"message":"reverted"})"));
  EXPECT_EQ(dualctl("revert shop --json --socket " + agent.path()), 0);
  EXPECT_EQ(first_line(agent.asked()), "POST /v1/services/shop/revert HTTP/1.1");
}

TEST(Arguments, OfHistoryBecomeTheQuery) {
  OneAnswer agent(http("200 OK", "[]"));
  EXPECT_EQ(dualctl("history shop -n 5 --all", agent.path()), 0);
  EXPECT_EQ(first_line(agent.asked()), "GET /v1/history?limit=5&service=shop&all=1 HTTP/1.1");
}

TEST(Arguments, OfEventsBecomeTheQuery) {
  OneAnswer agent("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
  EXPECT_EQ(dualctl("events --follow -n 0 --service shop", agent.path()), 0);
  EXPECT_EQ(first_line(agent.asked()), "GET /v1/events?last=0&service=shop&follow=1 HTTP/1.1");
}

TEST(ExitStatus, IsTheAgents) {
  OneAnswer agent(http("409 Conflict", R"({"error":{"code":"refused","exit":3,"message":"held by ann"}})"));
  testing::internal::CaptureStderr();
  EXPECT_EQ(dualctl("flip shop container", agent.path()), 3);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "dualctl: held by ann\n");
}

TEST(ExitStatus, IsFiveWithoutAnAgent) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(dualctl("status"), 5);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "dualctl: the agent does not answer on /nonexistent/socket: No such file or directory. Is it running? "
            "systemctl status dualdeployd.socket dualdeployd\n");
}

TEST(ExitStatus, IsFiveWithASocketPathLongerThanTheKernelTakes) {
  EXPECT_EQ(dualctl("status", "/" + std::string(200, 'x')), 5);
}

TEST(Arguments, HaveNoServiceThatWouldBeAnotherPathOrQuery) {
  EXPECT_THROW(dualctl("revert shop/../other"), CLI::ParseError);
  EXPECT_THROW(dualctl("flip shop?x container"), CLI::ParseError);
  EXPECT_THROW(dualctl("status 'a b'"), CLI::ParseError);
  EXPECT_THROW(dualctl("history a&all=1"), CLI::ParseError);
  EXPECT_THROW(dualctl("events --service a&follow=1"), CLI::ParseError);
}

TEST(CheckConfig, IsOneForAFileThatIsNotThere) { EXPECT_EQ(dualctl("check-config /nonexistent/agent.yaml"), 1); }

}  // namespace
}  // namespace dualdeploy::cli
