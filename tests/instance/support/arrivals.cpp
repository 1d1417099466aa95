#include "instance/support/arrivals.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <stop_token>
#include <string_view>
#include <utility>
#include <vector>

#include "instance/support/instance.hpp"

namespace dualdeploy::testing {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto pace = 2ms;
/// A held SYN is sent again after 1, 3, 7, 15 and 31 s, each time maybe into another hold.
constexpr auto patience = 60s;
constexpr std::string_view request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

struct Client {
  int socket = -1;
  Clock::time_point came;
  bool asked = false;
  bool served = false;  ///< The beginning of an answer has come.
};

class Crowd {
 public:
  Crowd(sockaddr_in target, Arrivals::Report& report) : target_(target), report_(report) {}

  void run(const std::stop_token& enough) {
    const Clock::time_point begun = Clock::now();
    Clock::time_point next = begun;
    Clock::time_point ended = Clock::time_point::max();
    while (ended == Clock::time_point::max() || !clients_.empty()) {
      if (enough.stop_requested() && ended == Clock::time_point::max()) ended = Clock::now();
      for (; ended == Clock::time_point::max() && next <= Clock::now(); next += pace) come();
      look(begun);
    }
    for (const auto& [how, when] : failures_) {
      report_.failures += std::to_string(when.size()) + " times " + how + ", " + when.front() + " to " + when.back() + " ms after the start\n";
    }
  }

 private:
  void come() {
    Client client{.socket = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), .came = Clock::now()};
    ASSERT_GE(client.socket, 0) << std::strerror(errno);
    const int begun = ::connect(client.socket, reinterpret_cast<const sockaddr*>(&target_), sizeof target_);
    ASSERT_TRUE(begun == 0 || errno == EINPROGRESS) << std::strerror(errno);
    clients_.push_back(client);
  }

  void look(Clock::time_point begun) {
    std::vector<pollfd> events;
    for (const Client& client : clients_) events.push_back({client.socket, static_cast<short>(client.asked ? POLLIN : POLLOUT), 0});
    ::poll(events.data(), events.size(), 1);
    std::vector<Client> staying;
    for (std::size_t i = 0; i < clients_.size(); ++i) {
      Client& client = clients_[i];
      std::string failure = events[i].revents != 0 ? go_on(client) : "";
      if (failure.empty() && client.socket >= 0 && Clock::now() - client.came > patience) failure = "not answered";
      if (!failure.empty()) {
        const auto at = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begun);
        failures_[failure].push_back(std::to_string(at.count()));
        if (client.socket >= 0) ::close(std::exchange(client.socket, -1));
      }
      if (client.socket >= 0) staying.push_back(client);
    }
    clients_ = std::move(staying);
  }

  /// What went wrong, if anything.
  std::string go_on(Client& client) {
    if (!client.asked) {
      if (::send(client.socket, request.data(), request.size(), MSG_NOSIGNAL) < 0) return std::strerror(errno);
      client.asked = true;
      return "";
    }
    std::array<char, 4096> buffer{};
    const ssize_t length = ::recv(client.socket, buffer.data(), buffer.size(), 0);
    if (length < 0) return errno == EAGAIN ? "" : std::strerror(errno);
    if (length == 0) {
      ::close(std::exchange(client.socket, -1));
      if (!client.served) return "closed without an answer";
      ++report_.answered;
      return "";
    }
    if (!client.served && !std::string_view(buffer.data(), static_cast<std::size_t>(length)).starts_with("HTTP/1.1 200")) return "not 200";
    client.served = true;
    return "";
  }

  sockaddr_in target_;
  Arrivals::Report& report_;
  std::vector<Client> clients_;
  std::map<std::string, std::vector<std::string>> failures_;  ///< When, by how.
};

}  // namespace

Arrivals::Arrivals(const std::string& instance, const std::string& address, std::uint16_t port)
    : thread_([this, instance, address, port](const std::stop_token& enough) {
        // Whoever is held for 4 s is one of 2000.
        rlimit files{};
        ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
        files.rlim_cur = files.rlim_max;
        ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
        ASSERT_TRUE(enter_client_network(instance));
        sockaddr_in target{};
        target.sin_family = AF_INET;
        target.sin_port = htons(port);
        (void)::inet_pton(AF_INET, address.c_str(), &target.sin_addr);
        Crowd(target, report_).run(enough);
      }) {}

Arrivals::Report Arrivals::stop() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
  return report_;
}

}  // namespace dualdeploy::testing
