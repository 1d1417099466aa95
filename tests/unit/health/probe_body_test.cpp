#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <thread>

#include "health/probe.hpp"
#include "support_loop.hpp"

/// What the body of an answer is read for, and as whom a command runs.
namespace dualdeploy::health {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using boost::asio::ip::tcp;

/// Answers one request with `answer` and closes.
std::optional<ProbeFailure> check_against(const std::string& answer, std::string contains) {
  boost::asio::io_context loop;
  tcp::acceptor acceptor(loop, tcp::endpoint(boost::asio::ip::make_address("127.0.0.1"), 0));
  std::jthread server([&acceptor, &answer] {
    boost::system::error_code error;
    tcp::socket socket = acceptor.accept(error);
    std::array<char, 4096> request{};
    socket.read_some(boost::asio::buffer(request), error);
    boost::asio::write(socket, boost::asio::buffer(answer), error);
  });
  config::Check check;
  check.probe = config::HttpCheck{.status = {}, .contains = std::move(contains)};
  check.timeout = 5s;
  return testing::run(loop, probe(check, acceptor.local_endpoint().port(), {}));
}

std::string with_length(const std::string& status, const std::string& body) {
  return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

TEST(ProbeBody, LongOneIsSearchedAsFarAsItIsRead) {
  const std::string long_body = "ready" + std::string(300'000, 'x');
  EXPECT_FALSE(check_against(with_length("200 OK", long_body), "ready"));
  const auto failure = check_against(with_length("200 OK", std::string(300'000, 'x') + "ready"), "ready");
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->excerpt, std::string(200, 'x'));
}

TEST(ProbeBody, LongOneOfAFailureIsShown) {
  const auto failure = check_against(with_length("500 Oops", "no disk" + std::string(300'000, '.')), "");
  ASSERT_TRUE(failure);
  EXPECT_THAT(failure->reason, HasSubstr("HTTP status 500"));
  EXPECT_THAT(failure->excerpt, StartsWith("no disk"));
}

TEST(ProbeBody, Chunks) {
  const std::string head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_FALSE(check_against(head + "3\r\nrea\r\n2\r\ndy\r\n0\r\n\r\n", "ready"));
  EXPECT_THAT(check_against(head + "3\r\nrea\r\n", "ready")->reason, HasSubstr("closed before"));
}

TEST(ProbeBody, UntilTheConnectionEnds) { EXPECT_FALSE(check_against("HTTP/1.0 200 OK\r\n\r\nready", "ready")); }

TEST(ProbeExec, AUserBringsItsGroup) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can run a command as somebody else";
  boost::asio::io_context loop;
  config::Check check;
  check.probe = config::ExecCheck{.command = {"/bin/sh", "-c", "echo $(id -un) $(id -gn) $(id -Gn); exit 1"}, .user = "nobody"};
  check.timeout = 5s;
  EXPECT_EQ(testing::run(loop, probe(check, 1, {}))->excerpt, "nobody nogroup nogroup");
  // The group that tells the agent's packets from others' goes before.
  EXPECT_EQ(testing::run(loop, probe(check, 1, ProbeIdentity{.mark = 0, .group = gid_t{2}}))->excerpt, "nobody bin bin");
}

TEST(ProbeExec, AnUnknownUserIsAReason) {
  boost::asio::io_context loop;
  config::Check check;
  check.probe = config::ExecCheck{.command = {"/bin/true"}, .user = "no-such-user"};
  EXPECT_EQ(testing::run(loop, probe(check, 1, {}))->reason, "there is no user 'no-such-user'");
}

}  // namespace
}  // namespace dualdeploy::health
