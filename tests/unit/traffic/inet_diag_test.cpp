#include "traffic/inet_diag.hpp"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <random>

#include "support_loop.hpp"
#include "traffic/inet_diag_socket.hpp"

namespace dualdeploy::traffic::inet_diag {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Ports = std::vector<std::uint16_t>;

constexpr std::uint32_t sequence = 7;

template <class Body>
std::string message(std::uint16_t type, const Body& body, std::uint32_t number = sequence, std::uint16_t flags = 0) {
  nlmsghdr header{};
  header.nlmsg_len = static_cast<std::uint32_t>(sizeof header + sizeof body);
  header.nlmsg_type = type;
  header.nlmsg_flags = flags;
  header.nlmsg_seq = number;
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
  bytes.append(reinterpret_cast<const char*>(&body), sizeof body);
  return bytes;
}

inet_diag_msg told_of(std::uint8_t family, std::uint16_t local, std::uint16_t remote) {
  inet_diag_msg told{};
  told.idiag_family = family;
  told.idiag_state = TCP_ESTABLISHED;
  told.idiag_inode = 1;
  told.id.idiag_sport = htons(local);
  told.id.idiag_dport = htons(remote);
  ::inet_pton(family, family == AF_INET ? "192.0.2.1" : "::ffff:192.0.2.1", told.id.idiag_src);
  ::inet_pton(family, family == AF_INET ? "192.0.2.2" : "::ffff:192.0.2.2", told.id.idiag_dst);
  return told;
}
std::string socket_message(std::uint16_t local) { return message(SOCK_DIAG_BY_FAMILY, told_of(AF_INET, local, 40000)); }

/// The kernel's own interpreter of filter programs (inet_diag_bc_run in net/ipv4/inet_diag.c), for the steps we use.
bool takes(const std::string& request, std::uint16_t local, std::uint16_t remote, bool bound, std::uint32_t mark = 0) {
  const std::string program = request.substr(sizeof(nlmsghdr) + sizeof(inet_diag_req_v2) + sizeof(nlattr));
  auto left = static_cast<long>(program.size());
  const char* at = program.data();
  while (left > 0) {
    inet_diag_bc_op step[2]{};
    inet_diag_markcond condition{};
    std::memcpy(&step[0], at, sizeof step[0]);
    if (left >= 8) std::memcpy(&step[1], at + 4, sizeof step[1]);
    if (left >= 12) std::memcpy(&condition, at + 4, sizeof condition);
    bool yes = true;
    switch (step[0].code) {
      case INET_DIAG_BC_JMP: yes = false; break;
      case INET_DIAG_BC_S_GE: yes = local >= step[1].no; break;
      case INET_DIAG_BC_S_LE: yes = local <= step[1].no; break;
      case INET_DIAG_BC_D_GE: yes = remote >= step[1].no; break;
      case INET_DIAG_BC_D_LE: yes = remote <= step[1].no; break;
      case INET_DIAG_BC_AUTO: yes = !bound; break;
      case INET_DIAG_BC_MARK_COND: yes = (mark & condition.mask) == condition.mark; break;
      default: ADD_FAILURE() << "step " << int{step[0].code};
    }
    const long jump = yes ? step[0].yes : step[0].no;
    if (jump <= 0) ADD_FAILURE() << "a step that jumps nowhere";
    if (jump <= 0) return false;
    left -= jump;
    at += jump;
  }
  return left == 0;
}

TEST(InetDiag, TheFilterTakesThePortsAsked) {
  const std::string served = list_served(1, AF_INET, {8443, 80, 8080, 8081, 80, 65535});
  for (const std::uint16_t port : Ports{80, 8080, 8081, 8443, 65535}) {
    EXPECT_TRUE(takes(served, port, 5, false)) << port;
  }
  for (const std::uint16_t port : Ports{0, 79, 81, 8079, 8082, 8442, 65534}) {
    EXPECT_FALSE(takes(served, port, 80, false)) << port;
  }
  EXPECT_FALSE(takes(served, 80, 5, true));
  const std::string marked = list_marked(1, AF_INET, {80, 8080}, 0xdd);
  EXPECT_TRUE(takes(marked, 5, 8080, true, 0xdd));
  EXPECT_FALSE(takes(marked, 5, 8080, true, 0xdc));
  EXPECT_FALSE(takes(marked, 8080, 5, true, 0xdd));
}

TEST(InetDiag, TheFilterIsBounded) {
  Ports ports;
  for (std::uint16_t port = 2; port < 60000; port = static_cast<std::uint16_t>(port + 2)) ports.push_back(port);
  const std::string served = list_served(1, AF_INET, ports);
  EXPECT_LT(served.size(), 2000U);
  for (const std::uint16_t port : ports) ASSERT_TRUE(takes(served, port, 5, false)) << port;
  EXPECT_FALSE(takes(served, 3, 5, false));
  EXPECT_FALSE(takes(served, 60000, 5, false));
}

TEST(InetDiag, BothFamiliesNameAnEndAlike) {
  const Answer answer = parse(message(SOCK_DIAG_BY_FAMILY, told_of(AF_INET, 80, 40000)) +
                                  message(SOCK_DIAG_BY_FAMILY, told_of(AF_INET6, 80, 40000)),
                              sequence);
  ASSERT_EQ(answer.sockets.size(), 2U);
  EXPECT_EQ(answer.sockets[0].local, answer.sockets[1].local);
  EXPECT_EQ(answer.sockets[0].remote, answer.sockets[1].remote);
  EXPECT_NE(answer.sockets[0].local.address, answer.sockets[0].remote.address);
  EXPECT_EQ(answer.sockets[0].local.port, 80);
  EXPECT_EQ(answer.sockets[0].remote.port, 40000);
  EXPECT_TRUE(answer.sockets[0].held());
  EXPECT_FALSE(answer.malformed || answer.done || answer.interrupted);
}

TEST(InetDiag, ErrorsAndEnds) {
  nlmsgerr error{};
  error.error = -EOPNOTSUPP;
  EXPECT_THAT(parse(message(NLMSG_ERROR, error), sequence).verdicts, ElementsAre(EOPNOTSUPP));
  error.error = 0;
  EXPECT_THAT(parse(message(NLMSG_ERROR, error), sequence).verdicts, ElementsAre(0));
  const Answer refused = parse(message(NLMSG_DONE, -ENOENT), sequence);
  EXPECT_TRUE(refused.done);
  EXPECT_THAT(refused.verdicts, ElementsAre(ENOENT));
  const Answer interrupted = parse(message(NLMSG_DONE, 0, sequence, NLM_F_DUMP_INTR), sequence);
  EXPECT_TRUE(interrupted.interrupted && interrupted.done);
  const Answer late = parse(message(NLMSG_DONE, 0, sequence - 1) + socket_message(80), sequence);
  EXPECT_FALSE(late.done);
  EXPECT_EQ(late.sockets.size(), 1U);
}

TEST(InetDiag, GarbageIsNotBelieved) {
  for (const int impossible : {1, std::numeric_limits<int>::min()}) {
    const Answer answer = parse(message(NLMSG_ERROR, impossible), sequence);
    EXPECT_TRUE(answer.malformed);
    EXPECT_THAT(answer.verdicts, IsEmpty());
  }
  EXPECT_TRUE(parse(message(NLMSG_ERROR, std::uint16_t{0}), sequence).malformed);
  EXPECT_TRUE(parse(message(SOCK_DIAG_BY_FAMILY, told_of(AF_UNIX, 80, 1)), sequence).malformed);
  EXPECT_TRUE(parse(std::string(100, '\0'), sequence).malformed);
  EXPECT_TRUE(parse(std::string(100, '\xff'), sequence).malformed);
}

TEST(InetDiag, ATruncatedListEndsWhereItIsCut) {
  const std::string whole = socket_message(80) + socket_message(81) + message(NLMSG_DONE, 0);
  const std::size_t one = socket_message(80).size();
  for (std::size_t size = 0; size <= whole.size(); ++size) {
    const std::string cut = whole.substr(0, size);  // A copy of its own, for the address sanitizer.
    const Answer answer = parse(cut, sequence);
    EXPECT_EQ(answer.sockets.size(), std::min(size / one, std::size_t{2})) << size;
    EXPECT_EQ(answer.malformed, size % one != 0 && size != whole.size()) << size;
    EXPECT_EQ(answer.done, size == whole.size());
  }
}

TEST(InetDiag, AnyBytesAtAllEndInAnAnswer) {
  std::mt19937 random(1);  // The same bytes every time.
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = socket_message(80) + message(NLMSG_ERROR, nlmsgerr{}) + message(NLMSG_DONE, 0);
    for (unsigned changes = 1 + random() % 8; changes > 0; --changes) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    bytes.resize(random() % (bytes.size() + 1));
    EXPECT_LE(parse(bytes, sequence).sockets.size(), bytes.size() / sizeof(nlmsghdr));
  }
}

TEST(InetDiag, AnAnswerIsNotWaitedForLongerThanTheDeadline) {
  boost::asio::io_context loop;
  const auto kernel = Conversation::open(loop.get_executor(), std::chrono::milliseconds{20});
  ASSERT_TRUE(kernel) << kernel.error().message;
  const auto answer = dualdeploy::testing::run(loop, (*kernel)->receive());  // To nothing asked.
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::timed_out);
}

}  // namespace
}  // namespace dualdeploy::traffic::inet_diag
