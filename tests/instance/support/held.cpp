#include "instance/support/held.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <thread>

#include "instance/support/instance.hpp"

namespace dualdeploy::testing {

namespace {

/// What arrives up to the end of `text`, or until nothing comes for five seconds.
bool receives(int socket, std::string_view text) {
  std::string received;
  std::array<char, 1024> buffer{};
  while (received.find(text) == std::string::npos) {
    const ssize_t length = ::recv(socket, buffer.data(), buffer.size(), 0);
    if (length <= 0) return false;
    received.append(buffer.data(), static_cast<std::size_t>(length));
  }
  return true;
}

bool says(int socket, std::string_view text) {
  return ::send(socket, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

int connected(const std::string& address, int port) {
  const bool v6 = address.find(':') != std::string::npos;
  const int socket = ::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval patience{5, 0};
  (void)::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  sockaddr_in v4{};
  sockaddr_in6 six{};
  v4.sin_family = AF_INET;
  six.sin6_family = AF_INET6;
  v4.sin_port = six.sin6_port = htons(static_cast<std::uint16_t>(port));
  (void)::inet_pton(v6 ? AF_INET6 : AF_INET, address.c_str(), v6 ? static_cast<void*>(&six.sin6_addr) : &v4.sin_addr);
  const auto* target = v6 ? reinterpret_cast<const sockaddr*>(&six) : reinterpret_cast<const sockaddr*>(&v4);
  EXPECT_EQ(::connect(socket, target, v6 ? sizeof six : sizeof v4), 0) << address;
  EXPECT_TRUE(says(socket, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"));
  EXPECT_TRUE(receives(socket, "\r\n\r\n"));
  return socket;
}

}  // namespace

HeldConnections::HeldConnections(const std::string& instance, const std::string& address, int port, int count) {
  std::thread([&] {
    ASSERT_TRUE(enter_client_network(instance));
    for (int i = 0; i < count; ++i) sockets_.push_back(connected(address, port));
  }).join();
}

HeldConnections::~HeldConnections() { end(static_cast<int>(sockets_.size())); }

void HeldConnections::end(int count) {
  for (int i = 0; i < count && !sockets_.empty(); ++i) {
    ::close(sockets_.back());
    sockets_.pop_back();
  }
}

int HeldConnections::alive() const {
  return static_cast<int>(std::ranges::count_if(sockets_, [](int socket) { return says(socket, "ping\n") && receives(socket, ": ping"); }));
}

}  // namespace dualdeploy::testing
