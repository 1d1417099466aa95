// Both backends against each other and against a model: the same connection arrives at the same port. Real packets between
// two network namespaces, with rules and connections drawn from a seed.

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <array>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <thread>

#include "host/clock.hpp"
#include "host/command.hpp"
#include "traffic/iptables_backend.hpp"
#include "traffic/nft_backend.hpp"
#include "unit/support_loop.hpp"

namespace dualdeploy::traffic {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t probe_mark = 0xdd;
constexpr int answer_ms = 5'000;   ///< For an answer that has to come.
constexpr int silence_ms = 250;    ///< For one that must not.

/// A port where every listener answers with its own number: front, RPM's or container's, or of nobody.
constexpr std::uint16_t ports[]{80, 81, 82, 8080, 8081, 8082, 9090};

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& from) noexcept : fd_(std::exchange(from.fd_, -1)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

sockaddr_in6 address_of(const std::string& text, std::uint16_t port) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(port);
  // IPv4 as IPv4-mapped: one kind of socket for both families (RFC 4291, 2.5.5.2).
  const std::string mapped = text.find(':') == std::string::npos ? "::ffff:" + text : text;
  ::inet_pton(AF_INET6, mapped.c_str(), &address.sin6_addr);
  return address;
}

/// Answers on every port, TCP and UDP, with `name` and the port, until it is destroyed. In the caller's namespace.
class Answering {
 public:
  explicit Answering(std::string name) : name_(std::move(name)) {
    for (const std::uint16_t port : ports) {
      for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
        sockets_.emplace_back(::socket(AF_INET6, type | SOCK_CLOEXEC, 0));
        const sockaddr_in6 any = address_of("::", port);
        EXPECT_EQ(::bind(sockets_.back().get(), reinterpret_cast<const sockaddr*>(&any), sizeof any), 0) << port;
        const int yes = 1;
        EXPECT_EQ(::setsockopt(sockets_.back().get(), IPPROTO_IPV6, IPV6_RECVPKTINFO, &yes, sizeof yes), 0);
        if (type == SOCK_STREAM) {
          EXPECT_EQ(::listen(sockets_.back().get(), 128), 0);
        }
      }
    }
    thread_ = std::thread([this] { serve(); });
  }
  Answering(const Answering&) = delete;
  Answering& operator=(const Answering&) = delete;
  ~Answering() {
    const std::uint64_t one = 1;
    (void)!::write(over_.get(), &one, sizeof one);
    thread_.join();
  }

 private:
  void serve() {
    std::vector<pollfd> waiting;
    for (const Descriptor& socket : sockets_) waiting.push_back({socket.get(), POLLIN, 0});
    waiting.push_back({over_.get(), POLLIN, 0});
    while (::poll(waiting.data(), waiting.size(), -1) >= 0 && waiting.back().revents == 0) {
      for (std::size_t i = 0; i < sockets_.size(); ++i) {
        if (waiting[i].revents != 0) answer(sockets_[i].get(), name_ + std::to_string(ports[i / 2]), i % 2 == 0);
      }
    }
  }
  static void answer(int socket, const std::string& text, bool tcp) {
    if (tcp) {
      const Descriptor accepted(::accept4(socket, nullptr, nullptr, SOCK_CLOEXEC));
      (void)!::write(accepted.get(), text.data(), text.size());
      return;
    }
    // From the address that was asked, which the control message carries both ways (RFC 3542, section 6).
    char buffer[32];
    sockaddr_in6 from{};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(in6_pktinfo))];
    iovec data{buffer, sizeof buffer};
    msghdr message{&from, sizeof from, &data, 1, control, sizeof control, 0};
    if (::recvmsg(socket, &message, 0) < 0) return;
    data.iov_len = text.copy(buffer, sizeof buffer);
    (void)::sendmsg(socket, &message, 0);
  }

  std::string name_;
  Descriptor over_{::eventfd(0, EFD_CLOEXEC)};
  std::vector<Descriptor> sockets_;
  std::thread thread_;
};

struct Packet {
  bool from_server = false;  ///< Made on the host of the rules.
  bool to_server = true;
  bool v6 = false;
  bool marked = false;       ///< As the agent marks its own checks.
  config::Protocol protocol = config::Protocol::tcp;
  std::string source;
  std::uint16_t port = 0;
};

std::string text_of(const Packet& packet) {
  return fmt::format("{} {} from {} ({}{}) to {} port {}", packet.v6 ? "IPv6" : "IPv4", config::name_of(packet.protocol),
                     packet.source, packet.from_server ? "this host" : "a client", packet.marked ? ", marked" : "",
                     packet.to_server ? "this host" : "the client's", packet.port);
}

/// Who should answer; empty: nobody.
std::string expected(const Rules& rules, const Packet& packet) {
  if (!packet.to_server) return fmt::format("client{}", packet.port);
  if (packet.marked) return fmt::format("server{}", packet.port);
  for (const auto& [name, service] : rules.services) {
    for (const config::Port& port : service.ports) {
      if (port.protocol != packet.protocol) continue;
      if (port.front == packet.port) {
        if (service.held_until) return "";
        if (packet.from_server && !service.local_traffic) return fmt::format("server{}", packet.port);
        const Network source = Network::parse(packet.source).value();
        const bool tester = std::ranges::any_of(service.planned.testers, [&](const Network& n) { return n.contains(source); });
        const bool to_container = service.active && (service.planned.container_percent == 100 || tester);
        return fmt::format("server{}", to_container ? port.container : port.rpm);
      }
      if (port.container == packet.port && service.guard && !packet.from_server) return "";
    }
  }
  return fmt::format("server{}", packet.port);
}

class Verdicts : public ::testing::Test {
 protected:
  static constexpr const char* server_v4 = "192.0.2.1";
  static constexpr const char* server_v6 = "2001:db8::1";
  static inline const std::vector<std::string> clients_v4{"192.0.2.2", "192.0.2.66", "192.0.2.130", "192.0.2.200"};
  static inline const std::vector<std::string> clients_v6{"2001:db8::2", "2001:db8::1:2", "2001:db8::2:2", "2001:db8::2:3"};

  void SetUp() override {
    if (::getuid() != 0) GTEST_SKIP() << "needs root, for network namespaces";
    // A thread's network namespace is its own: the client's host is a descriptor of one that no thread is in any more.
    std::thread([this] {
      ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
      client_.emplace(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    }).join();
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    sh("ip link set lo up && ip link add dd0 type veth peer name dd1 && "
       "ip addr add 192.0.2.1/24 dev dd0 && ip addr add 2001:db8::1/64 dev dd0 nodad && ip link set dd0 up && "
       "ip link set dd1 netns /proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(client_->get()));
    std::string line = "ip link set lo up && ip link set dd1 up";
    for (const std::string& address : clients_v4) line += " && ip addr add " + address + "/24 dev dd1";
    for (const std::string& address : clients_v6) line += " && ip addr add " + address + "/64 dev dd1 nodad";
    at_client([&] {
      sh(line);
      at_client_.emplace("client");
    });
    here_.emplace("server");
  }

  void at_client(const std::function<void()>& what) {
    std::thread([&] {
      ASSERT_EQ(::setns(client_->get(), CLONE_NEWNET), 0);
      what();
    }).join();
  }
  static void sh(const std::string& line) {
    host::Command command;
    command.argv = {"sh", "-c", line};
    boost::asio::io_context own;
    auto result = dualdeploy::testing::run(own, host::run_command(std::move(command)));
    ASSERT_TRUE(result) << result.error().message;
    ASSERT_EQ(result->exit_status, 0) << line << ": " << result->error;
  }
  void must(boost::asio::awaitable<Expected<void>> task) {
    const auto done = dualdeploy::testing::run(loop, std::move(task));
    ASSERT_TRUE(done) << done.error().message;
  }

  /// Sends it, from a source port that was never used before, and returns who answered.
  std::string send(const Packet& packet, int patience_ms) {
    std::string answer;
    const auto connect_and_read = [&] {
      const Descriptor socket(::socket(AF_INET6, (packet.protocol == config::Protocol::tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      if (packet.marked) {
        ASSERT_EQ(::setsockopt(socket.get(), SOL_SOCKET, SO_MARK, &probe_mark, sizeof probe_mark), 0);
      }
      const sockaddr_in6 from = address_of(packet.source, next_port_++);
      const std::string host = packet.to_server ? (packet.v6 ? server_v6 : server_v4) : (packet.v6 ? clients_v6 : clients_v4).front();
      const sockaddr_in6 to = address_of(host, packet.port);
      ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&from), sizeof from), 0) << std::strerror(errno);
      if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0 && errno != EINPROGRESS) return;
      if (packet.protocol == config::Protocol::udp) (void)!::write(socket.get(), "?", 1);
      pollfd waiting{socket.get(), POLLIN, 0};
      if (::poll(&waiting, 1, patience_ms) <= 0) return;
      char buffer[32];
      const ssize_t length = ::read(socket.get(), buffer, sizeof buffer);
      if (length > 0) answer.assign(buffer, static_cast<std::size_t>(length));
    };
    if (packet.from_server) {
      connect_and_read();
    } else {
      at_client(connect_and_read);
    }
    return answer;
  }

  template <class Range>
  const auto& pick(const Range& range) {
    return range[std::uniform_int_distribution<std::size_t>(0, std::size(range) - 1)(random)];
  }
  bool chance(int percent) { return std::uniform_int_distribution<int>(1, 100)(random) <= percent; }

  Route a_route() {
    static const std::vector<std::string> networks{"192.0.2.64/26", "192.0.2.2", "192.0.2.128/25", "192.0.2.1", "2001:db8::1:0/112",
                                                   "2001:db8::2", "2001:db8::1"};
    if (chance(30)) return Route{};
    if (chance(40)) return Route::of(100);
    std::vector<Network> testers;
    for (const std::string& network : networks) {
      if (chance(35)) testers.push_back(Network::parse(network).value());
    }
    std::ranges::sort(testers);
    return Route::of(0, false, std::move(testers));
  }

  Rules some_rules() {
    Rules rules;
    rules.probe_mark = probe_mark;
    for (const std::uint16_t front : std::array<std::uint16_t, 2>{80, 81}) {
      ServiceRules service;
      service.name = front == 80 ? "shop" : "a-service-with-a-very-long-name";
      service.ports = {config::Port{.front = front, .rpm = static_cast<std::uint16_t>(chance(30) ? 82 : front),
                                    .container = static_cast<std::uint16_t>(8000 + front),
                                    .protocol = chance(70) ? config::Protocol::tcp : config::Protocol::udp}};
      service.local_traffic = chance(70);
      service.guard = chance(70);
      service.planned = a_route();
      service.active = !service.planned.all_rpm() && chance(85);
      const bool could_be_held = service.planned.all_rpm() && service.ports.front().rpm == front;
      if (could_be_held && chance(20)) service.held_until = host::now() + 60s;
      rules.services.emplace(service.name, std::move(service));
    }
    return rules;
  }

  Packet a_packet() {
    Packet packet;
    packet.from_server = chance(40);
    packet.to_server = !packet.from_server || chance(80);
    packet.v6 = chance(50);
    packet.marked = packet.from_server && chance(25);  // A mark does not travel over a wire.
    packet.protocol = chance(65) ? config::Protocol::tcp : config::Protocol::udp;
    packet.source = packet.from_server ? (packet.v6 ? server_v6 : server_v4) : pick(packet.v6 ? clients_v6 : clients_v4);
    packet.port = chance(60) ? pick(std::vector<std::uint16_t>{80, 81}) : pick(ports);
    return packet;
  }

  /// DUALDEPLOY_SEED draws another table.
  const unsigned seed = std::getenv("DUALDEPLOY_SEED") != nullptr ? static_cast<unsigned>(std::atoi(std::getenv("DUALDEPLOY_SEED"))) : 20261123;
  std::mt19937 random{seed};
  boost::asio::io_context loop;
  std::optional<Descriptor> client_;
  std::optional<Answering> here_;
  std::optional<Answering> at_client_;
  std::uint16_t next_port_ = 10'000;
};

TEST_F(Verdicts, OfBothBackendsAreTheSame) {
  if (IsSkipped()) return;
  const std::unique_ptr<Backend> backends[]{make_nft_backend(loop.get_executor()), make_iptables_backend(loop.get_executor())};
  constexpr int states = 220;
  constexpr int packets_of_a_state = 6;
  int sent = 0;
  int unanswered = 0;
  int moved = 0;
  Rules before;
  for (int i = 0; i < states && !HasFailure(); ++i) {
    const Rules rules = some_rules();
    std::vector<Packet> packets;
    for (int n = 0; n < packets_of_a_state; ++n) packets.push_back(a_packet());
    for (const auto& backend : backends) {
      must(backend->replace(rules));
      for (const Packet& packet : packets) {
        const std::string should = expected(rules, packet);
        EXPECT_EQ(send(packet, should.empty() ? silence_ms : answer_ms), should)
            << backend->name() << ", state " << i << ": " << text_of(packet);
        ++sent;
        unanswered += should.empty() ? 1 : 0;
        moved += !should.empty() && should != fmt::format("server{}", packet.port) && packet.to_server ? 1 : 0;
      }
      must(backend->remove());
    }
  }
  std::printf("seed %u: %d states, %d connections, %d moved, %d not let in\n", seed, states, sent, moved, unanswered);
  // The draw is not all of one kind.
  EXPECT_GT(moved, sent / 10);
  EXPECT_GT(unanswered, sent / 50);
}

}  // namespace
}  // namespace dualdeploy::traffic
