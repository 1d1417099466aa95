// A service over UDP (DNS) that is flipped while clients go on talking from the same ports.

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <future>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "instance/support/instance.hpp"

namespace dualdeploy::testing {
namespace {

using ::testing::HasSubstr;

/// dnsmasq on both sides; each answers a TXT query for "side.test" with its name.
void deploy_dns(const Instance& instance) {
  const std::string options = " --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --group=root --pid-file= ";
  instance.write("/run/systemd/system/dd-dns.service",
                 "[Service]\nExecStart=/usr/sbin/dnsmasq" + options + "--port=53 --txt-record=side.test,rpm\n");
  instance.build_image("/usr/sbin/dnsmasq", "dd-dns");
  // From the instance itself and without a mark: in the group of the checks, it reaches the side that it asks for.
  const auto check = [](const std::string& port, const std::string& side) {
    return "check: {exec: {command: [/bin/sh, -c, 'dig +short +tries=1 +time=1 @127.0.0.1 -p " + port + " side.test TXT | grep -q " + side +
           "']}, interval: 500ms}\n";
  };
  instance.write("/etc/dualdeploy/services.d/dns.yaml",
                 "ports: [{front: 53, container: 5353, protocol: udp}]\nparity: false\n"
                 "rpm:\n  unit: dd-dns.service\n  " + check("53", "rpm") +
                 "container:\n  image: dd-dns\n  command: [--keep-in-foreground, --conf-file=/dev/null, --no-resolv, --no-hosts, --user=root,"
                 " --group=root, --pid-file=, --port=5353, '--txt-record=side.test,container']\n  ulimits: {nofile: 4096}\n"
                 "  binds: ['/etc/passwd:/etc/passwd:ro', '/etc/group:/etc/group:ro']\n  " + check("5353", "container"));
  instance.do_inside("systemctl daemon-reload; systemctl reload dualdeployd; dualctl flip dns container --wait; dualctl flip dns rpm --wait");
}

/// Where the route is, as far as a client can know: between two changes, or in the middle of one.
class Epoch {
 public:
  void begin_change() {
    const std::lock_guard lock(mutex_);
    ++number_;
    side_.clear();
  }
  void end_change(const std::string& side) {
    const std::lock_guard lock(mutex_);
    ++number_;
    side_ = side;
  }
  void count_answer() {
    ++answers_;
    answers_.notify_all();
  }
  /// Until the clients have had so many more answers.
  void await_answers(long more) const {
    const long enough = answers_ + more;
    for (long seen = answers_; seen < enough; seen = answers_) answers_.wait(seen);
  }
  std::pair<int, std::string> now() const {
    const std::lock_guard lock(mutex_);
    return {number_, side_};
  }

 private:
  mutable std::mutex mutex_;
  std::atomic<long> answers_ = 0;
  int number_ = 0;
  std::string side_ = "rpm";
};

struct Talk {
  long asked = 0;
  long answered = 0;
  long lost = 0;         ///< Within a second.
  long twice = 0;        ///< A second answer to the same query.
  long wrong_side = 0;   ///< Asked and answered between two changes, by the side without the route.
  long wrong_source = 0; ///< From another address or port than was asked.
  std::map<std::string, long> by_side;
};

/// A DNS query (RFC 1035) for TXT side.test.
std::string query(std::uint16_t id) {
  std::string packet{static_cast<char>(id >> 8), static_cast<char>(id & 0xff), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0};
  packet += std::string("\x04side\x04test\x00", 11);
  packet += std::string{0, 16, 0, 1};
  return packet;
}

/// One client that asks again and again from one port, each time as soon as the last answer has come.
Talk talk(int family, std::uint16_t from, Epoch& epoch, const std::atomic<bool>& over) {
  Talk talk;
  const int socket = ::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in6 server6{};
  sockaddr_in server4{};
  sockaddr_in6 own6{};
  sockaddr_in own4{};
  server4.sin_family = own4.sin_family = AF_INET;
  server6.sin6_family = own6.sin6_family = AF_INET6;
  server4.sin_port = server6.sin6_port = htons(53);
  own4.sin_port = own6.sin6_port = htons(from);
  (void)::inet_pton(AF_INET, "192.0.2.1", &server4.sin_addr);
  (void)::inet_pton(AF_INET6, "2001:db8::1", &server6.sin6_addr);
  const bool v6 = family == AF_INET6;
  const auto* server = v6 ? reinterpret_cast<const sockaddr*>(&server6) : reinterpret_cast<const sockaddr*>(&server4);
  const auto* own = v6 ? reinterpret_cast<const sockaddr*>(&own6) : reinterpret_cast<const sockaddr*>(&own4);
  const socklen_t length = v6 ? sizeof server6 : sizeof server4;
  EXPECT_EQ(::bind(socket, own, length), 0);
  std::set<std::uint16_t> answered;
  std::uint16_t id = 0;
  while (!over) {
    if (++id == 0) answered.clear();
    const auto asked_at = epoch.now();
    const std::string packet = query(id);
    ++talk.asked;
    if (::sendto(socket, packet.data(), packet.size(), 0, server, length) < 0) continue;
    for (;;) {
      pollfd ready{socket, POLLIN, 0};
      if (::poll(&ready, 1, 1'000) <= 0) {
        ++talk.lost;
        break;
      }
      std::array<char, 1500> buffer{};
      sockaddr_storage source{};
      socklen_t source_length = sizeof source;
      const ssize_t size = ::recvfrom(socket, buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&source), &source_length);
      if (size < 12) continue;
      const bool right_source = v6 ? reinterpret_cast<const sockaddr_in6&>(source).sin6_port == server6.sin6_port &&
                                         std::memcmp(&reinterpret_cast<const sockaddr_in6&>(source).sin6_addr, &server6.sin6_addr, 16) == 0
                                   : reinterpret_cast<const sockaddr_in&>(source).sin_port == server4.sin_port &&
                                         reinterpret_cast<const sockaddr_in&>(source).sin_addr.s_addr == server4.sin_addr.s_addr;
      if (!right_source) ++talk.wrong_source;
      const auto got = static_cast<std::uint16_t>((static_cast<unsigned char>(buffer[0]) << 8) | static_cast<unsigned char>(buffer[1]));
      if (!answered.insert(got).second) {
        ++talk.twice;
        continue;
      }
      if (got != id) continue;  // Late: counted as lost already.
      const std::string text(buffer.data(), static_cast<std::size_t>(size));
      const std::string side = text.find("container") != std::string::npos ? "container" : text.find("rpm") != std::string::npos ? "rpm" : "?";
      ++talk.answered;
      epoch.count_answer();
      ++talk.by_side[side];
      if (epoch.now() == asked_at && !asked_at.second.empty() && asked_at.second != side) ++talk.wrong_side;
      break;
    }
  }
  ::close(socket);
  return talk;
}

TEST(Udp, ClientsThatGoOnTalkingFollowTheFlip) {
  const Instance instance("udp");
  deploy_dns(instance);
  Epoch epoch;
  std::atomic<bool> over = false;
  std::vector<std::future<Talk>> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::async(std::launch::async, [&, i] {
      const int netns = ::open("/run/netns/dd-udp-cli", O_RDONLY | O_CLOEXEC);
      EXPECT_EQ(::setns(netns, CLONE_NEWNET), 0);  // Of this thread alone.
      ::close(netns);
      return talk(i % 2 == 0 ? AF_INET : AF_INET6, static_cast<std::uint16_t>(40'000 + i), epoch, over);
    }));
  }
  int flips = 0;
  for (int i = 0; i < 25; ++i) {
    for (const std::string side : {"container", "rpm"}) {
      epoch.begin_change();
      instance.do_inside("dualctl flip dns " + side);
      epoch.end_change(side);
      ++flips;
      epoch.await_answers(200);
    }
  }
  over = true;
  Talk sum;
  for (auto& client : clients) {
    const Talk talk = client.get();
    EXPECT_GT(talk.by_side.at("rpm"), 0);
    EXPECT_GT(talk.by_side.at("container"), 0);
    sum.asked += talk.asked;
    sum.answered += talk.answered;
    sum.lost += talk.lost;
    sum.twice += talk.twice;
    sum.wrong_side += talk.wrong_side;
    sum.wrong_source += talk.wrong_source;
    for (const auto& [side, count] : talk.by_side) sum.by_side[side] += count;
  }
  std::printf("%d flips; %ld queries from 8 ports: %ld by the RPM, %ld by the container, %ld lost (%.4f %%), %ld answered twice, "
              "%ld from a wrong source, %ld by the wrong side\n",
              flips, sum.asked, sum.by_side["rpm"], sum.by_side["container"], sum.lost,
              100.0 * static_cast<double>(sum.lost) / static_cast<double>(sum.asked), sum.twice, sum.wrong_source, sum.wrong_side);
  EXPECT_EQ(sum.twice, 0);
  EXPECT_EQ(sum.wrong_source, 0);
  EXPECT_EQ(sum.wrong_side, 0);
  EXPECT_EQ(sum.by_side.count("?"), 0U);
  // At a flip each client may lose what was under way: the answer of a side that has lost its flows is not sent.
  EXPECT_LE(sum.lost, flips * 8);
}

TEST(Udp, UnderDnsperf) {
  const Instance instance("udpperf");
  deploy_dns(instance);
  instance.do_client("echo 'side.test TXT' > /tmp/dd-udpperf");
  auto load = std::async(std::launch::async, [&] {
    return instance.client("dnsperf -s 192.0.2.1 -d /tmp/dd-udpperf -l 10 -c 8 -q 32 -t 1; rm /tmp/dd-udpperf");
  });
  int flips = 0;
  while (load.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    for (const std::string side : {"container", "rpm"}) instance.do_inside("dualctl flip dns " + side);
    flips += 2;
  }
  const std::string report = load.get().output;
  std::printf("%d flips under dnsperf\n%s\n", flips, report.substr(report.find("Statistics")).c_str());
  EXPECT_THAT(report, HasSubstr("NOERROR"));
  EXPECT_THAT(report, ::testing::Not(HasSubstr("SERVFAIL")));
  const auto number = [&](const std::string& name) {
    const std::size_t at = report.find(name);
    return at == std::string::npos ? 0L : std::atol(report.c_str() + at + name.size());
  };
  EXPECT_GT(number("Queries completed:"), 1'000);
  EXPECT_LE(number("Queries lost:"), static_cast<long>(flips) * 8 * 32) << report;
  // What the guard keeps dark, and what it lets through.
  instance.do_inside("dualctl flip dns rpm");
  EXPECT_NE(instance.client("dig +tries=1 +time=1 @192.0.2.1 -p 5353 side.test TXT").status, 0);
}

}  // namespace
}  // namespace dualdeploy::testing
