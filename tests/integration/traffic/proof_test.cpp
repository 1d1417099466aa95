// The proof of a flip over real nft and real connections, in a network namespace of its own.

#include "traffic/proof.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <cstdlib>
#include <list>

#include "unit/support_loop.hpp"

namespace dualdeploy::traffic {
namespace {

using ::testing::HasSubstr;
using boost::asio::ip::tcp;

const Route rpm = Route::to(Side::rpm);
const Route container = Route::to(Side::container);

class ProofTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    separate = ::getuid() == 0 && ::unshare(CLONE_NEWNET) == 0 && std::system("ip link set lo up") == 0;
  }
  void SetUp() override {
    if (!separate) GTEST_SKIP() << "needs root, for a network namespace";
    ASSERT_EQ(std::system("nft flush ruleset"), 0);
    local_ports("32768 60999");
    what.ports = {config::Port{.front = 80, .rpm = 80, .container = 8080}};
  }
  static void local_ports(const std::string& range) {
    ASSERT_EQ(std::system(("echo " + range + " > /proc/sys/net/ipv4/ip_local_port_range").c_str()), 0);
  }
  void listen(const std::string& address, std::uint16_t port) {
    const auto ip = boost::asio::ip::make_address(address);
    tcp::acceptor& acceptor = acceptors.emplace_back(loop);
    acceptor.open(ip.is_v6() ? tcp::v6() : tcp::v4());
    if (ip.is_v6()) acceptor.set_option(boost::asio::ip::v6_only(true));
    acceptor.set_option(tcp::acceptor::reuse_address(true));
    acceptor.bind(tcp::endpoint(ip, port));
    acceptor.listen();
  }
  static void redirect(std::uint16_t to) {
    const std::string rule = "nft 'table inet t { chain c { type nat hook output priority -110; tcp dport 80 dnat to :" + std::to_string(to) + "; }; }'";
    ASSERT_EQ(std::system(rule.c_str()), 0);
  }
  std::string inspected(const Route& route) {
    what.route = route;
    const auto done = inspect(what);
    return done ? "" : done.error().message;
  }
  std::string proved(const Route& route) {
    what.route = route;
    const auto done = dualdeploy::testing::run(loop, prove(what));
    return done ? "" : done.error().message;
  }

  static inline bool separate = false;
  boost::asio::io_context loop;
  std::list<tcp::acceptor> acceptors;
  ProofOf what;
};

TEST_F(ProofTest, ConnectionsArriveWhereTheRouteSendsThem) {
  for (const char* any : {"0.0.0.0", "::"}) {
    listen(any, 80);
    listen(any, 8080);
  }
  EXPECT_EQ(proved(rpm), "");
  EXPECT_THAT(proved(container), HasSubstr("a connection to 127.0.0.1:80 reached the rpm, the route is container"));
  redirect(8080);
  EXPECT_EQ(proved(container), "");
  EXPECT_EQ(proved(Route::of(50)), "");
  EXPECT_THAT(proved(rpm), HasSubstr("reached the container, the route is rpm"));
}

TEST_F(ProofTest, EachFamilyByItself) {
  for (const char* any : {"0.0.0.0", "::"}) {
    listen(any, 80);
    listen(any, 8080);
  }
  ASSERT_EQ(std::system("nft 'table ip t { chain c { type nat hook output priority -110; tcp dport 80 dnat to :8080; }; }'"), 0);
  EXPECT_THAT(proved(container), HasSubstr("a connection to [::1]:80 reached the rpm"));
}

TEST_F(ProofTest, SourcePortsThatAreTakenDoNotMislead) {
  listen("0.0.0.0", 80);
  listen("0.0.0.0", 8080);
  redirect(8080);
  // Of the source ports that the kernel prefers, every tenth already has a tracked connection to the container's port.
  local_ports("30000 30399");
  for (int i = 0; i < 20; ++i) {
    tcp::socket direct(loop);
    direct.connect(tcp::endpoint(boost::asio::ip::make_address("127.0.0.1"), 8080));
  }
  for (int i = 0; i < 20; ++i) EXPECT_EQ(proved(container), "");
}

TEST_F(ProofTest, EndsThatLingerOnTheServersSideDoNotMislead) {
  listen("0.0.0.0", 80);
  listen("0.0.0.0", 8080);
  local_ports("31000 31399");
  // The RPM says goodbye first, so that its end stays in TIME_WAIT (RFC 9293, 3.6.1). The client's port is free again at once.
  for (int i = 0; i < 200; ++i) {
    tcp::socket client(loop);
    client.connect(tcp::endpoint(boost::asio::ip::make_address("127.0.0.1"), 80));
    tcp::socket server = acceptors.front().accept();
    server.close();
    boost::system::error_code end;
    char byte = 0;
    client.read_some(boost::asio::buffer(&byte, 1), end);
    EXPECT_EQ(end, boost::asio::error::eof);
  }
  redirect(8080);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(proved(container), "");
}

TEST_F(ProofTest, SomebodyElse) {
  listen("0.0.0.0", 80);
  listen("0.0.0.0", 8080);
  listen("0.0.0.0", 9090);
  redirect(9090);
  EXPECT_THAT(proved(container), HasSubstr("reached somebody else"));
}

TEST_F(ProofTest, NobodyAndNothing) {
  listen("0.0.0.0", 8080);
  redirect(8081);
  EXPECT_THAT(proved(container), HasSubstr("a connection to 127.0.0.1:80 failed: Connection refused"));
  ASSERT_EQ(std::system("nft 'table inet t2 { chain c { type filter hook input priority 0; tcp dport 8081 drop; }; }'"), 0);
  EXPECT_THAT(proved(container), HasSubstr("did not open within 2s"));
}

TEST_F(ProofTest, WhereTheRpmListensTheContainerMust) {
  listen("0.0.0.0", 80);
  listen("::", 80);
  EXPECT_THAT(inspected(container), HasSubstr("the RPM listens on 0.0.0.0:80 and nothing on 0.0.0.0:8080"));
  listen("0.0.0.0", 8080);
  EXPECT_THAT(inspected(container), HasSubstr("the RPM listens on [::]:80 and nothing on [::]:8080"));
  EXPECT_EQ(inspected(rpm), "");
  listen("::", 8080);
  EXPECT_EQ(inspected(container), "");
}

TEST_F(ProofTest, OneAddressIsEnoughForOneAddress) {
  listen("127.0.0.1", 80);
  listen("127.0.0.1", 8080);
  EXPECT_EQ(inspected(container), "");
  listen("127.0.0.2", 80);
  EXPECT_THAT(inspected(container), HasSubstr("the RPM listens on 127.0.0.2:80 and nothing on 127.0.0.2:8080"));
}

TEST_F(ProofTest, WhatListensBelongsToTheContainer) {
  listen("0.0.0.0", 80);
  listen("0.0.0.0", 8080);
  what.pids[Side::container] = ::getpid();  // This process listens, and is the container.
  EXPECT_EQ(inspected(container), "");
}

TEST_F(ProofTest, UdpIsNotItsBusiness) {
  what.ports = {config::Port{.front = 53, .rpm = 53, .container = 5353, .protocol = config::Protocol::udp}};
  EXPECT_EQ(inspected(container), "");
  EXPECT_EQ(proved(container), "");
}

}  // namespace
}  // namespace dualdeploy::traffic
