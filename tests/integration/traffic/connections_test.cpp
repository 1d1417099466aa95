// Connections of the real kernel, in a network namespace of its own.

#include "traffic/connections.hpp"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "unit/support_loop.hpp"

namespace dualdeploy::traffic {
namespace {

using Counts = std::map<std::uint16_t, std::size_t>;

constexpr std::uint32_t mark = 0xdd;

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& from) noexcept : fd_(std::exchange(from.fd_, -1)) {}
  Fd& operator=(Fd&& from) noexcept {
    std::swap(fd_, from.fd_);
    return *this;
  }
  ~Fd() { close(); }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

/// "127.0.0.1" or "::1"; as IPv6 also the IPv4-mapped "::ffff:127.0.0.1".
sockaddr_storage address_of(const std::string& host, std::uint16_t port) {
  sockaddr_storage storage{};
  if (host.find(':') == std::string::npos) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    EXPECT_EQ(::inet_pton(AF_INET, host.c_str(), &v4.sin_addr), 1);
  } else {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    EXPECT_EQ(::inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr), 1);
  }
  return storage;
}

void set(const Fd& socket, int level, int option, int value) {
  EXPECT_EQ(::setsockopt(socket.get(), level, option, &value, sizeof value), 0) << std::strerror(errno);
}
Fd bound(const std::string& host, std::uint16_t port) {
  const sockaddr_storage address = address_of(host, port);
  Fd socket(::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  set(socket, SOL_SOCKET, SO_REUSEADDR, 1);
  const int result = ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  EXPECT_EQ(result, 0) << std::strerror(errno);
  return socket;
}
Fd listener(const std::string& host, std::uint16_t port) {
  Fd socket = bound(host, port);
  EXPECT_EQ(::listen(socket.get(), 128), 0) << std::strerror(errno);
  return socket;
}
void connect(const Fd& socket, const std::string& host, std::uint16_t port) {
  const sockaddr_storage to = address_of(host, port);
  EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0) << std::strerror(errno);
}
Fd client(const std::string& host, std::uint16_t port, std::uint32_t with_mark = 0) {
  Fd socket(::socket(address_of(host, port).ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (with_mark != 0) set(socket, SOL_SOCKET, SO_MARK, static_cast<int>(with_mark));
  connect(socket, host, port);
  return socket;
}
Fd accepted(const Fd& from) { return Fd(::accept4(from.get(), nullptr, nullptr, SOCK_CLOEXEC)); }

/// The errno of a read: 0 at the end of the stream.
int read_error(const Fd& socket) {
  char byte = 0;
  return ::recv(socket.get(), &byte, 1, 0) < 0 ? errno : 0;
}
bool open_still(const Fd& socket) {
  char byte = 0;
  return ::recv(socket.get(), &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

class ConnectionsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    separate = ::getuid() == 0 && ::unshare(CLONE_NEWNET) == 0;
    if (!separate) return;
    const Fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq loopback{};
    std::strncpy(loopback.ifr_name, "lo", IFNAMSIZ - 1);
    loopback.ifr_flags = IFF_UP;
    separate = ::ioctl(any.get(), SIOCSIFFLAGS, &loopback) == 0;
  }
  void SetUp() override {
    if (!separate) GTEST_SKIP() << "needs root, for a network namespace";
  }

  Counts counts(std::vector<std::uint16_t> ports, std::uint32_t probe_mark = mark) {
    const auto counted = testing::run(loop, count_connections(std::move(ports), probe_mark));
    if (!counted) ADD_FAILURE() << counted.error().message;
    return counted.value_or(Counts{});
  }
  std::size_t count(std::uint16_t port) { return counts({port})[port]; }
  /// The kernel may take 40 ms to acknowledge an end of stream (a delayed ACK): FIN_WAIT1 or LAST_ACK until then.
  std::size_t count_in_the_end(std::uint16_t port) {
    for (int i = 0; i < 200 && count(port) != 0; ++i) ::usleep(10'000);
    return count(port);
  }
  Expected<std::size_t> close(std::vector<std::uint16_t> ports) {
    return testing::run(loop, close_connections(std::move(ports), mark));
  }

  static inline bool separate = false;
  boost::asio::io_context loop;
};

TEST_F(ConnectionsTest, CountsBothFamiliesAndMappedOnes) {
  const Fd v4 = listener("127.0.0.1", 80);
  const Fd v6 = listener("::1", 80);
  const Fd both = listener("::", 81);
  EXPECT_EQ(counts({80, 81, 82}), (Counts{{80, 0}, {81, 0}, {82, 0}}));  // Listeners are none.
  const Fd a = client("127.0.0.1", 80);
  EXPECT_EQ(count(80), 1U);  // Not accepted yet.
  const Fd served = accepted(v4);
  const Fd b = client("::1", 80);
  EXPECT_EQ(counts({80, 81}), (Counts{{80, 2}, {81, 0}}));
  const Fd c = client("127.0.0.1", 81);
  const Fd d = client("::1", 81);
  const Fd e = client("::ffff:127.0.0.1", 81);
  EXPECT_EQ(counts({80, 81, 80}), (Counts{{80, 2}, {81, 3}}));
  EXPECT_EQ(count(81), 3U);
  EXPECT_EQ(counts({}), Counts{});
}

TEST_F(ConnectionsTest, CountsUntilTheClientHasEverything) {
  const Fd server = listener("127.0.0.1", 80);
  Fd one = client("127.0.0.1", 80);
  Fd one_served = accepted(server);
  one.close();
  EXPECT_EQ(count(80), 1U);  // CLOSE_WAIT: the server may not even have read the request.
  one_served.close();
  EXPECT_EQ(count_in_the_end(80), 0U);
  Fd two = client("127.0.0.1", 80);
  Fd two_served = accepted(server);
  ::shutdown(two_served.get(), SHUT_WR);
  EXPECT_EQ(count(80), 1U);  // FIN_WAIT, and the server still reads.
  two_served.close();
  EXPECT_EQ(count_in_the_end(80), 0U);  // FIN_WAIT2 without a server.
  two.close();
  EXPECT_EQ(count_in_the_end(80), 0U);  // TIME_WAIT
  // Half an answer does not fit the client's window: FIN_WAIT1 without a server.
  Fd three = client("127.0.0.1", 80);
  Fd three_served = accepted(server);
  const std::string answer(8 * 1024 * 1024, 'x');
  EXPECT_GT(::send(three_served.get(), answer.data(), answer.size(), MSG_DONTWAIT), 0);
  three_served.close();
  EXPECT_EQ(count(80), 1U);
  three.close();
  EXPECT_EQ(count_in_the_end(80), 0U);
}

TEST_F(ConnectionsTest, CountsOneThatIsNotYetHandedOver) {
  const Fd server = listener("127.0.0.1", 80);
  set(server, IPPROTO_TCP, TCP_DEFER_ACCEPT, 10);  // SYN_RECV until the client sends something.
  const Fd early = client("127.0.0.1", 80);
  EXPECT_EQ(count(80), 1U);
  const Fd probe = client("127.0.0.1", 80, mark);
  EXPECT_EQ(count(80), 1U);
  EXPECT_EQ(close({80}).value_or(99), 1U);
  EXPECT_EQ(count(80), 0U);
}

TEST_F(ConnectionsTest, ClientSocketsAreNone) {
  const Fd server = listener("127.0.0.1", 5000);
  const Fd service = listener("127.0.0.1", 80);
  const Fd out = bound("127.0.0.1", 40080);
  connect(out, "127.0.0.1", 5000);
  const Fd served = accepted(server);
  EXPECT_EQ(counts({80, 40080}), (Counts{{80, 0}, {40080, 0}}));
  EXPECT_EQ(close({40080}).value_or(99), 0U);
  EXPECT_TRUE(open_still(out));
  EXPECT_EQ(count(5000), 1U);
}

TEST_F(ConnectionsTest, ProbesAreNone) {
  const Fd v4 = listener("127.0.0.1", 80);
  const Fd both = listener("::", 81);
  Fd a = client("127.0.0.1", 80, mark);
  const Fd b = client("127.0.0.1", 81, mark);
  const Fd c = client("::1", 81, mark);
  const Fd d = client("::ffff:127.0.0.1", 81, mark);
  const Fd other = client("127.0.0.1", 80, mark + 1);
  EXPECT_EQ(counts({80, 81}), (Counts{{80, 1}, {81, 0}}));
  EXPECT_EQ(counts({80, 81}, 0), (Counts{{80, 2}, {81, 3}}));
  EXPECT_EQ(close({80, 81}).value_or(99), 1U);
  EXPECT_TRUE(open_still(b));
  EXPECT_EQ(read_error(other), ECONNRESET);
  a.close();  // The service is slow to notice.
  EXPECT_EQ(count(80), 0U);
}

TEST_F(ConnectionsTest, ManyAreCountedAndClosed) {
  constexpr std::size_t many = 2'000;
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_max < 2 * many + 100) GTEST_SKIP() << "needs " << 2 * many << " open files";
  const Fd v4 = listener("127.0.0.1", 80);
  const Fd v6 = listener("::1", 80);
  std::vector<std::pair<Fd, Fd>> pairs;
  for (std::size_t i = 0; i < many; ++i) {
    Fd one = client(i % 2 == 0 ? "127.0.0.1" : "::1", 80);
    pairs.emplace_back(std::move(one), accepted(i % 2 == 0 ? v4 : v6));
  }
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(count(80), many);
  const auto counted = std::chrono::steady_clock::now();
  pairs.resize(many / 2);
  EXPECT_EQ(count(80), many / 2);
  const auto closing = std::chrono::steady_clock::now();
  EXPECT_EQ(close({80}).value_or(0), many / 2);
  const auto closed = std::chrono::steady_clock::now();
  EXPECT_EQ(count(80), 0U);
  for (const auto& pair : pairs) ASSERT_EQ(read_error(pair.first), ECONNRESET);
  using Microseconds = std::chrono::duration<double, std::micro>;
  RecordProperty("count_2000_us", std::to_string(Microseconds(counted - start).count()));
  RecordProperty("close_1000_us", std::to_string(Microseconds(closed - closing).count()));
}

TEST_F(ConnectionsTest, ClosesThoseOfThePortsAndNoOthers) {
  const Fd one = listener("::", 80);
  const Fd two = listener("127.0.0.1", 81);
  const Fd a = client("127.0.0.1", 80);
  const Fd a_served = accepted(one);
  const Fd b = client("::1", 80);
  const Fd kept = client("127.0.0.1", 81);
  if (!can_close_connections()) {
    const auto closed = close({80});
    ASSERT_FALSE(closed);
    EXPECT_EQ(closed.error().code, ErrorCode::failed);
    EXPECT_THAT(closed.error().message, ::testing::HasSubstr("cannot close connections"));
    return;
  }
  EXPECT_EQ(close({}).value_or(99), 0U);
  EXPECT_EQ(close({80, 79}).value_or(99), 2U);
  EXPECT_EQ(read_error(a), ECONNRESET);
  EXPECT_EQ(read_error(b), ECONNRESET);
  EXPECT_EQ(read_error(a_served), ECONNABORTED);
  EXPECT_TRUE(open_still(kept));
  EXPECT_EQ(counts({80, 81}), (Counts{{80, 0}, {81, 1}}));
  const Fd again = client("127.0.0.1", 80);  // The listener is as it was.
  EXPECT_EQ(count(80), 1U);
}

TEST_F(ConnectionsTest, SaysWhetherThisKernelCanClose) {
  const Fd server = listener("127.0.0.1", 80);
  const Fd held = client("127.0.0.1", 80);
  const auto can = can_close_connections();
  EXPECT_TRUE(open_still(held));
  const auto closed = close({80});
  EXPECT_EQ(can.has_value(), closed.has_value());
  if (can) {
    EXPECT_EQ(closed.value_or(99), 1U);
  } else {
    EXPECT_EQ(can.error().code, ErrorCode::failed);
  }
}

}  // namespace
}  // namespace dualdeploy::traffic
