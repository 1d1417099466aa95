#include "health/probe.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio/ip/tcp.hpp>
#include <thread>

#include "support_loop.hpp"

namespace dualdeploy::health {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using boost::asio::ip::tcp;

/// Accepts one connection on loopback, reads a little, says what it was told, and closes (or keeps quiet).
class OneAnswer {
 public:
  explicit OneAnswer(std::string answer, bool hang = false, tcp protocol = tcp::v4())
      : acceptor_(loop_, tcp::endpoint(protocol == tcp::v4() ? boost::asio::ip::make_address("127.0.0.1")
                                                              : boost::asio::ip::make_address("::1"), 0)),
        thread_([this, answer = std::move(answer), hang] {
          boost::system::error_code error;
          tcp::socket socket = acceptor_.accept(error);
          std::array<char, 4096> buffer{};
          if (!answer.empty() || hang) socket.read_some(boost::asio::buffer(buffer), error);
          if (!error) boost::asio::write(socket, boost::asio::buffer(answer), error);
          while (hang && !error) socket.read_some(boost::asio::buffer(buffer), error);
          ended_ = error;
        }) {}
  ~OneAnswer() {
    if (thread_.joinable()) thread_.join();
  }
  /// How the client has ended the connection, which this end keeps open.
  [[nodiscard]] boost::system::error_code ended() {
    thread_.join();
    return ended_;
  }
  [[nodiscard]] std::uint16_t port() const { return acceptor_.local_endpoint().port(); }

 private:
  boost::asio::io_context loop_;
  tcp::acceptor acceptor_;
  boost::system::error_code ended_;
  std::thread thread_;
};

std::optional<ProbeFailure> check(const config::Check& how, std::uint16_t port) {
  boost::asio::io_context loop;
  return testing::run(loop, probe(how, port, {}));
}

config::Check http(std::vector<int> status = {}, std::string contains = "") {
  config::Check how;
  how.probe = config::HttpCheck{.path = "/healthz", .status = std::move(status), .contains = std::move(contains)};
  how.timeout = 300ms;
  return how;
}

std::string answer(const std::string& status, const std::string& body) {
  return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

TEST(Probe, HttpPasses) {
  const OneAnswer server(answer("200 OK", "ok"));
  EXPECT_FALSE(check(http(), server.port()));
}

TEST(Probe, HttpPassesOnIpv6) {
  const OneAnswer server(answer("204 No Content", ""), false, tcp::v6());
  config::Check how = http();
  std::get<config::HttpCheck>(how.probe).address = "::1";
  EXPECT_FALSE(check(how, server.port()));
}

TEST(Probe, HttpStatus) {
  const OneAnswer server(answer("503 Service Unavailable", "out of\nmemory\x01"));
  const auto failure = check(http(), server.port());
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->reason, "HTTP status 503, expected 200 to 399");
  EXPECT_EQ(failure->excerpt, "out of memory?");
}

TEST(Probe, HttpStatusList) {
  const OneAnswer server(answer("302 Found", ""));
  EXPECT_EQ(check(http({200, 204}), server.port())->reason, "HTTP status 302, expected 200 or 204");
}

TEST(Probe, HttpContains) {
  const OneAnswer server(answer("200 OK", "all is lost"));
  EXPECT_EQ(check(http({}, "all is well"), server.port())->reason, "the body does not contain 'all is well'");
}

TEST(Probe, HttpLongBodyIsFine) {
  const OneAnswer server(answer("200 OK", std::string(300'000, 'x')));
  EXPECT_FALSE(check(http(), server.port()));
}

TEST(Probe, HttpHangs) {
  const OneAnswer server("", true);
  EXPECT_THAT(check(http(), server.port())->reason, HasSubstr("no answer within 300ms"));
}

TEST(Probe, HttpClosesEarly) {
  const OneAnswer server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
  EXPECT_EQ(check(http(), server.port())->reason, "connection closed before a complete response");
}

TEST(Probe, NotHttp) {
  const OneAnswer server("220 mail.example ESMTP\r\n\r\n");
  EXPECT_THAT(check(http(), server.port())->reason, HasSubstr("not HTTP"));
}

/// Thousands of checks a second must not fill the kernel's table of tracked connections, where TIME_WAIT lasts two minutes.
TEST(Probe, EndsItsConnectionWithAReset) {
  OneAnswer answered(answer("200 OK", "ok"), true);
  EXPECT_FALSE(check(http(), answered.port()));
  EXPECT_EQ(answered.ended(), boost::asio::error::connection_reset);
  OneAnswer silent("", true);
  EXPECT_TRUE(check(http(), silent.port()));
  EXPECT_EQ(silent.ended(), boost::asio::error::connection_reset);
  OneAnswer accepting("", true);
  config::Check opened;
  opened.probe = config::TcpCheck{};
  EXPECT_FALSE(check(opened, accepting.port()));
  EXPECT_EQ(accepting.ended(), boost::asio::error::connection_reset);
}

TEST(Probe, Refused) {
  std::uint16_t port = 0;
  {
    boost::asio::io_context loop;
    port = tcp::acceptor(loop, tcp::endpoint(boost::asio::ip::make_address("127.0.0.1"), 0)).local_endpoint().port();
  }
  EXPECT_THAT(check(http(), port)->reason, HasSubstr("connection refused by 127.0.0.1:"));
}

/// No descriptor left is the agent's own trouble, for whichever kind of check.
TEST(Probe, WithoutDescriptorsNothingIsSaid) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "to look at memory the sanitizer itself needs a descriptor";
#endif
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  boost::asio::io_context loop;  // Has its own descriptors before there are none.
  boost::asio::steady_timer timer(loop);
  const int next = ::dup(0);
  ::close(next);
  const rlimit none{static_cast<rlim_t>(next), before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  config::Check exec;
  exec.probe = config::ExecCheck{.command = {"/bin/true"}};
  const auto by_http = testing::run(loop, probe(http(), 1, {}));
  const auto by_exec = testing::run(loop, probe(exec, 1, {}));
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  for (const auto& failure : {by_http, by_exec}) {
    ASSERT_TRUE(failure);
    EXPECT_TRUE(failure->inconclusive) << failure->reason;
    EXPECT_THAT(failure->reason, HasSubstr("Too many open files"));
  }
  const auto refused = testing::run(loop, probe(http(), 1, {}));
  ASSERT_TRUE(refused);
  EXPECT_FALSE(refused->inconclusive) << refused->reason;
}

TEST(Probe, Tcp) {
  const OneAnswer server("");
  config::Check how;
  how.probe = config::TcpCheck{};
  how.probe = config::TcpCheck{.port = server.port(), .address = "127.0.0.1"};
  EXPECT_FALSE(check(how, 1));
}

TEST(Probe, Exec) {
  config::Check how;
  how.probe = config::ExecCheck{.command = {"/bin/sh", "-c", "test $DUALDEPLOY_PORT = 4711"}};
  how.timeout = 5s;
  EXPECT_FALSE(check(how, 4711));
  how.probe = config::ExecCheck{.command = {"/bin/sh", "-c", "echo no luck >&2; exit 2"}};
  const auto failure = check(how, 1);
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->reason, "exit status 2");
  EXPECT_EQ(failure->excerpt, "no luck");
  how.probe = config::ExecCheck{.command = {"/bin/sleep", "60"}};
  how.timeout = 100ms;
  EXPECT_THAT(check(how, 1)->reason, HasSubstr("did not end within 100ms"));
}

}  // namespace
}  // namespace dualdeploy::health
