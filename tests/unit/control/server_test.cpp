#include "control/server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <filesystem>
#include <thread>

#include "control/client.hpp"

namespace dualdeploy::control {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

class FakeApi final : public Api {
 public:
  boost::asio::awaitable<json::value> status(std::optional<std::string> service) const override {
    co_return json::value(json::object{{"asked", service.value_or("all")}});
  }
  Outcome drain(std::string, std::optional<Milliseconds> wait) const override {
    co_return ChangeResult{"", {{"wait", wait ? wait->count() : -1}}};
  }
  bool has_service(std::string_view name) const override { return name == "shop"; }
  std::vector<std::string> service_names() const override { return {"shop"}; }
  Expected<std::vector<json::object>> history(std::optional<std::string>, std::size_t limit, bool changes_only) const override {
    return std::vector<json::object>{{{"limit", limit}, {"changes", changes_only}}};
  }
  json::object version() const override { return {{"version", "1"}}; }
  std::shared_ptr<void> subscribe(Listener listener) override {
    listeners.push_back(std::make_shared<Listener>(std::move(listener)));
    return listeners.back();
  }
  Outcome flip(FlipRequest request, Actor actor) override {
    if (request.reason == "no") co_return fail(ErrorCode::refused, "the container side is sick");
    co_return ChangeResult{"", json::object{{"to", describe(request.to)}, {"uid", actor.uid}, {"wait", request.wait},
                                            {"timeout", request.timeout.count()}}};
  }
  Outcome dry_run(FlipRequest request) override { co_return ChangeResult{"", {{"dry_run", describe(request.to)}}}; }
  Outcome confirm(std::string, std::string reason, Actor) override { co_return ChangeResult{"", {{"confirm", reason}}}; }
  Outcome revert(std::string, std::string reason, Actor) override { co_return ChangeResult{"", {{"revert", reason}}}; }
  Outcome hold(std::string, std::string reason, Actor) override { co_return ChangeResult{"", {{"hold", reason}}}; }
  Outcome release(std::string, std::string, Actor) override { co_return ChangeResult{"", {{"release", true}}}; }
  Outcome leave(LeaveRequest request, Actor) override { co_return ChangeResult{"", {{"leave", request.wait}}}; }
  Outcome join(std::string, Actor) override { co_return ChangeResult{"", {{"join", true}}}; }
  Outcome rescue(std::string, Actor) override { co_return ChangeResult{"", {{"rescue", true}}}; }

  std::vector<std::shared_ptr<Listener>> listeners;
};

class ServerTest : public ::testing::Test {
 protected:
  ServerTest() {
    std::string pattern = std::filesystem::temp_directory_path() / "dualdeploy-server-XXXXXX";
    directory = ::mkdtemp(pattern.data());
    socket = directory / "control.sock";
    Limits limits;
    limits.request = Milliseconds{300};
    limits.idle = Milliseconds{500};
    limits.connections_per_user = 2;
    const Access access{"root", "root"};

    server = std::make_unique<Server>(loop.get_executor(), api, limits, access);
    EXPECT_TRUE(server->listen(socket));
    thread = std::thread([this] { loop.run(); });
  }
  ~ServerTest() override {
    boost::asio::post(loop, [this] { server->stop(); });
    loop.stop();
    thread.join();
    std::filesystem::remove_all(directory);
  }

  [[nodiscard]] int connected() const {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket.string().copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  /// Sends bytes as they are; what came back until the server closed or `seconds` passed.
  std::string raw(const std::string& request, int seconds = 2) const {
    const int fd = connected();
    (void)::send(fd, request.data(), request.size(), MSG_NOSIGNAL);
    return rest_of(fd, seconds);
  }
  static std::string rest_of(int fd, int seconds) {
    const timeval timeout{seconds, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    std::string answer;
    char buffer[4096];
    for (ssize_t count = 0; (count = ::recv(fd, buffer, sizeof buffer, 0)) > 0;) answer.append(buffer, static_cast<std::size_t>(count));
    ::close(fd);
    return answer;
  }
  static std::string http(const std::string& line, const std::string& body = "") {
    return line + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }

  std::filesystem::path directory;
  std::filesystem::path socket;
  boost::asio::io_context loop;
  FakeApi api;  // Who listens to its events does so in the loop.
  std::unique_ptr<Server> server;
  std::thread thread;
};

#define NEEDS_ROOT() \
  if (::getuid() != 0) GTEST_SKIP() << "the peer has to be in the change group; as root it is"

TEST_F(ServerTest, Reading) {
  NEEDS_ROOT();
  const Client client(socket);
  EXPECT_EQ(client.get("/v1/status")->at("asked").as_string(), "all");
  EXPECT_EQ(client.get("/v1/services/shop")->at("asked").as_string(), "shop");
  EXPECT_EQ(client.get("/v1/history?limit=7&all=1")->at(0).at("limit").as_int64(), 7);
  EXPECT_EQ(client.get("/v1/version")->at("version").as_string(), "1");
}

TEST_F(ServerTest, Changing) {
  NEEDS_ROOT();
  const Client client(socket);
  const Milliseconds patience{2'000};
  const auto flipped = client.post("/v1/services/shop/flip", {{"to", "container"}, {"wait", true}, {"timeout", "5s"}}, patience);
  ASSERT_TRUE(flipped) << flipped.error().message;
  EXPECT_EQ(flipped->at("to").as_string(), "container");
  EXPECT_EQ(flipped->at("timeout").as_int64(), 5'000);
  const auto refused = client.post("/v1/services/shop/flip", {{"to", "rpm"}, {"reason", "no"}}, patience);
  EXPECT_EQ(refused.error().code, ErrorCode::refused);
  EXPECT_EQ(refused.error().message, "the container side is sick");
  EXPECT_TRUE(client.post("/v1/services/shop/hold", {{"reason", "x"}}, patience));
  EXPECT_TRUE(client.post("/v1/rescue", {}, patience));
  EXPECT_TRUE(client.post("/v1/leave", {{"wait", true}}, patience));
  EXPECT_TRUE(client.post("/v1/join", {{"reason", "back"}}, patience));
  EXPECT_FALSE(client.post("/v1/join", {{"wait", true}}, patience));
}

TEST_F(ServerTest, MistakesAreNamed) {
  NEEDS_ROOT();
  const std::vector<std::tuple<std::string, std::string, std::string>> cases{
      {http("GET /nowhere"), "404", "there is nothing here"},
      {http("GET /v1/services/nosuch"), "404", "there is no service 'nosuch'; there are: shop"},
      {http("POST /v1/services/nosuch/flip", "{}"), "404", "there are: shop"},
      {http("GET /v1/services/shop/flip"), "405", "POST"},
      {http("POST /v1/status"), "405", "GET"},
      {http("POST /v1/services/shop/dance"), "404", "nothing here"},
      {http("POST /v1/services/shop/flip", "{"), "400", "not JSON"},
      {http("POST /v1/services/shop/flip", "[]"), "400", "not a JSON object"},
      {http("POST /v1/services/shop/flip", "{}"), "400", "expected 'container' or 'rpm'"},
      {http("POST /v1/services/shop/flip", R"({"to":"moon"})"), "400", "'to' is 'moon'"},
      {http("POST /v1/services/shop/flip", R"({"to":1})"), "400", "'to' is not a text"},
      {http("POST /v1/services/shop/flip", R"({"to":"rpm","force":"yes"})"), "400", "'force' is neither true nor false"},
      {http("POST /v1/services/shop/flip", R"({"to":"rpm","timeout":"9"})"), "400", "'timeout'"},
      {http("POST /v1/services/shop/flip", R"({"to":"rpm","timeout":"9d"})"), "400", "expected 0s to 1h"},
      {http("POST /v1/services/shop/flip", R"({"to":"rpm","reson":"x"})"), "400", "unknown member 'reson'; known here: to, percent, sticky, testers, reason"},
      {http("POST /v1/services/shop/flip", R"({"to":"container","percent":101})"), "400", "'percent' is not a whole number"},
      {http("POST /v1/services/shop/flip", R"({"to":"container","percent":1.5})"), "400", "'percent' is not a whole number"},
      {http("POST /v1/services/shop/flip", R"({"to":"container","sticky":true})"), "400", "from 1 to 99"},
      {http("POST /v1/services/shop/flip", R"({"to":"container","testers":["10.0.0.0/8"]})"), "400", "has no meaning"},
      {http("POST /v1/services/shop/flip", R"({"to":"rpm","testers":["10.0.0.1/8"]})"), "400", "the network is 10.0.0.0/8"},
      {http("POST /v1/services/shop/flip", R"({"to":"rpm","testers":["::/0"]})"), "400", "is everybody"},
      {http("POST /v1/services/shop/flip", R"({"to":"rpm","testers":"10.0.0.0/8"})"), "400", "not a list"},
      {http("POST /v1/services/shop/flip", R"({"to":"rpm","confirm_within":"100ms"})"), "400", "expected 1s to 7d"},
      {http("POST /v1/services/shop/hold", "{}"), "400", "needs a 'reason'"},
      {http("POST /v1/services/shop/hold", R"({"reason":"a\nb"})"), "400", "control characters"},
      {http("POST /v1/services/shop/hold", R"({"reason":"a\u001b[2J"})"), "400", "control characters"},
      {http("POST /v1/services/shop/hold", R"({"reason":"a\u009b2J"})"), "400", "control characters"},
      {http("POST /v1/services/shop/hold", R"({"reason":"a\u202eb"})"), "400", "control characters"},
      {http("POST /v1/services/shop/hold", R"({"reason":"a\u0000b"})"), "400", "control characters"},
      {http("POST /v1/services/shop/hold", "{\"reason\":\"\xff\"}"), "400", "not JSON"},
      {http("POST /v1/services/shop/hold", "{\"reason\":\"" + std::string(501, 'x') + "\"}"), "400", "501 bytes"},
      {http("GET /v1/history?limit=x"), "400", "'limit' is a number"},
      {http("GET /v1/history?service=nosuch"), "404", "no service"},
      {http("GET /v1/%zz"), "400", "hexadecimal"},
      {"NONSENSE\r\n\r\n", "400", "not HTTP/1.1"},
      {"GET / HTTP/1.1\r\nX: " + std::string(20'000, 'x'), "431", "8192"},
      {"POST /v1/rescue HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", "413", "65536"},
      {"GET /v1/sta", "408", "did not arrive"},
      {"POST /v1/rescue HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{", "408", "did not arrive"},
  };
  for (const auto& [request, status, message] : cases) {
    const std::string answer = raw(request);
    EXPECT_THAT(answer, HasSubstr("HTTP/1.1 " + status)) << request.substr(0, 100);
    EXPECT_THAT(answer, HasSubstr(message)) << request.substr(0, 100);
  }
  EXPECT_TRUE(Client(socket).get("/v1/status"));
}

TEST_F(ServerTest, PipelinedRequestsAreAnsweredInOrder) {
  NEEDS_ROOT();
  const std::string request = "GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n";
  const std::string answer = raw(request + request + request, 1);
  std::size_t count = 0;
  for (std::size_t at = answer.find("200 OK"); at != std::string::npos; at = answer.find("200 OK", at + 1)) ++count;
  EXPECT_EQ(count, 3U);
}

TEST_F(ServerTest, SilentAndHalfOpenClientsAreClosedAndHurtNobody) {
  NEEDS_ROOT();
  std::vector<std::thread> silent;
  for (int i = 0; i < 20; ++i) silent.emplace_back([this] { EXPECT_THAT(raw("", 5), HasSubstr("408")); });
  EXPECT_TRUE(Client(socket).get("/v1/status"));
  for (std::thread& thread_of_one : silent) thread_of_one.join();
}

TEST_F(ServerTest, EventsAreFollowed) {
  NEEDS_ROOT();
  std::size_t heard = 0;
  const auto ended = Client(socket).events("/v1/events?follow=1&last=1", true, [&](const json::object& event) {
    if (++heard == 1) {  // The past. Now something new happens.
      boost::asio::post(loop, [this] {
        for (const auto& listener : api.listeners) (*listener)(json::object{{"id", 5}, {"service", "shop"}});
      });
      return true;
    }
    EXPECT_EQ(event.at("id").as_int64(), 5);
    return false;
  });
  EXPECT_TRUE(ended);
  EXPECT_EQ(heard, 2U);
}

TEST_F(ServerTest, StrangersAreToldWhatToDo) {
  NEEDS_ROOT();
  std::filesystem::permissions(directory, std::filesystem::perms::all);
  const pid_t child = ::fork();
  if (child == 0) {
    constexpr uid_t stranger = 54'321;
    if (::setgid(stranger) != 0 || ::setuid(stranger) != 0) ::_exit(9);
    const auto answer = Client(socket).get("/v1/status");
    const bool right = !answer && answer.error().code == ErrorCode::permission &&
                       answer.error().message.find("usermod -aG") != std::string::npos;
    ::_exit(right ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

/// Connections of many users, made by this thread alone: system calls of its own, not the C library's, which switch all.
TEST_F(ServerTest, ManyUsersWithoutPermissionAreOneAndKeepNobodyOut) {
  NEEDS_ROOT();
  std::filesystem::permissions(directory, std::filesystem::perms::all);
  std::vector<int> connections;
  std::thread crowd([&] {
    const gid_t none = 54'000;
    EXPECT_EQ(::syscall(SYS_setgroups, 1, &none), 0);
    for (long user = 54'001; user <= 54'003; ++user) {
      EXPECT_EQ(::syscall(SYS_setresgid, -1, user, -1), 0);
      EXPECT_EQ(::syscall(SYS_setresuid, -1, user, -1), 0);
      connections.push_back(connected());
      EXPECT_EQ(::syscall(SYS_setresuid, -1, 0, -1), 0);
      EXPECT_EQ(::syscall(SYS_setresgid, -1, 0, -1), 0);
    }
  });
  crowd.join();
  EXPECT_TRUE(Client(socket).get("/v1/status"));
  // They say nothing. Whom there is room for is told so after a while, the third at once.
  EXPECT_THAT(rest_of(connections[0], 5), HasSubstr("408"));
  EXPECT_THAT(rest_of(connections[1], 5), HasSubstr("408"));
  EXPECT_THAT(rest_of(connections[2], 5), HasSubstr("503"));
}

TEST(Client, NobodyThere) {
  const auto answer = Client("/no/such/socket").get("/v1/status");
  EXPECT_EQ(answer.error().code, ErrorCode::unreachable);
  EXPECT_THAT(answer.error().message, HasSubstr("systemctl status"));
}

TEST(Server, AStaleSocketIsReplacedAndALiveOneIsNot) {
  boost::asio::io_context loop;
  FakeApi api;
  std::string pattern = std::filesystem::temp_directory_path() / "dualdeploy-server-XXXXXX";
  const std::filesystem::path directory = ::mkdtemp(pattern.data());
  {
    Server first(loop.get_executor(), api, {}, {});
    ASSERT_TRUE(first.listen(directory / "x" / "s"));
    Server second(loop.get_executor(), api, {}, {});
    EXPECT_THAT(second.listen(directory / "x" / "s").error().message, HasSubstr("another agent"));
  }
  Server third(loop.get_executor(), api, {}, {});
  EXPECT_TRUE(third.listen(directory / "x" / "s"));
  third.stop();
  loop.run();
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace dualdeploy::control
