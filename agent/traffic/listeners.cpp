#include "traffic/listeners.hpp"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

namespace dualdeploy::traffic {
namespace {

namespace fs = std::filesystem;

constexpr std::uint16_t skv6only_attribute = 11;  // INET_DIAG_SKV6ONLY, newer than some kernel headers.

/// One question over sock_diag, answered within the call: the kernel fills the answer while it is being read.
class Question {
 public:
  Question() : socket_(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG)) {
    const timeval patience{1, 0};
    (void)::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  ~Question() {
    if (socket_ >= 0) ::close(socket_);
  }
  Question(const Question&) = delete;
  Question& operator=(const Question&) = delete;

  using OnSocket = std::function<void(const inet_diag_msg&, const std::byte* attributes, std::size_t size)>;

  /// Calls `on_socket` for each; errors are errno values, ENOENT if a single one was asked for and is not there.
  int ask(const inet_diag_req_v2& request, bool dump, const OnSocket& on_socket) {
    if (socket_ < 0) return errno;
    struct {
      nlmsghdr header{};
      inet_diag_req_v2 request{};
    } message;
    message.header.nlmsg_len = sizeof message;
    message.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
    message.header.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | (dump ? NLM_F_DUMP : 0));
    message.request = request;
    if (::send(socket_, &message, sizeof message, 0) < 0) return errno;
    for (;;) {
      alignas(nlmsghdr) std::array<std::byte, 32 * 1024> buffer;
      const ssize_t length = ::recv(socket_, buffer.data(), buffer.size(), 0);
      if (length < 0) return errno;
      const auto answer = read(buffer.data(), static_cast<std::size_t>(length), on_socket);
      if (answer) return *answer;
      if (!dump) return 0;
    }
  }

 private:
  /// An errno or 0 when this was the last of the answer.
  static std::optional<int> read(const std::byte* data, std::size_t size, const OnSocket& on_socket) {
    while (size >= sizeof(nlmsghdr)) {
      nlmsghdr header{};
      std::memcpy(&header, data, sizeof header);
      if (header.nlmsg_len < sizeof header || header.nlmsg_len > size) return EBADMSG;
      const std::byte* payload = data + NLMSG_HDRLEN;
      const std::size_t payload_size = header.nlmsg_len - NLMSG_HDRLEN;
      if (header.nlmsg_type == NLMSG_DONE) return 0;
      if (header.nlmsg_type == NLMSG_ERROR) {
        nlmsgerr error{};
        if (payload_size < sizeof error.error) return EBADMSG;
        std::memcpy(&error.error, payload, sizeof error.error);
        return -error.error;
      }
      if (payload_size < sizeof(inet_diag_msg)) return EBADMSG;
      inet_diag_msg found{};
      std::memcpy(&found, payload, sizeof found);
      on_socket(found, payload + NLMSG_ALIGN(sizeof found), payload_size - std::min(payload_size, std::size_t{NLMSG_ALIGN(sizeof found)}));
      const std::size_t step = std::min<std::size_t>(NLMSG_ALIGN(header.nlmsg_len), size);
      data += step;
      size -= step;
    }
    return std::nullopt;
  }

  int socket_;
};

bool v6_only(const std::byte* attributes, std::size_t size) {
  while (size >= sizeof(nlattr)) {
    nlattr attribute{};
    std::memcpy(&attribute, attributes, sizeof attribute);
    if (attribute.nla_len < sizeof attribute || attribute.nla_len > size) return false;
    if (attribute.nla_type == skv6only_attribute && attribute.nla_len > NLA_HDRLEN) {
      return attributes[NLA_HDRLEN] != std::byte{0};
    }
    const std::size_t step = std::min<std::size_t>(NLA_ALIGN(attribute.nla_len), size);
    attributes += step;
    size -= step;
  }
  return false;
}

std::string address_text(int family, const __be32* address) {
  std::array<char, INET6_ADDRSTRLEN> buffer{};
  if (::inet_ntop(family, address, buffer.data(), buffer.size()) == nullptr) return "";
  const std::string text = buffer.data();
  return text == "0.0.0.0" || text == "::" ? "" : text;
}

std::string first_line_of(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::vector<std::string> control_groups(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/cgroup");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

/// Whether every group of `inner` is the one of `outer` or below it.
bool within(const std::vector<std::string>& inner, const std::vector<std::string>& outer) {
  if (outer.empty() || inner.size() != outer.size()) return false;
  for (std::size_t i = 0; i < outer.size(); ++i) {
    const bool same = inner[i] == outer[i];
    const bool below = inner[i].starts_with(outer[i]) && (outer[i].ends_with('/') || inner[i][outer[i].size()] == '/');
    if (!same && !below) return false;
  }
  return true;
}

bool has_open(const fs::path& process, const std::string& link) {
  std::error_code error;
  for (fs::directory_iterator entry(process / "fd", error), end; !error && entry != end; entry.increment(error)) {
    std::error_code unreadable;
    if (fs::read_symlink(entry->path(), unreadable) == link) return true;
  }
  return false;
}

}  // namespace

Expected<std::vector<Listener>> tcp_listeners() {
  std::vector<Listener> listeners;
  for (const int family : {AF_INET, AF_INET6}) {
    inet_diag_req_v2 request{};
    request.sdiag_family = static_cast<std::uint8_t>(family);
    request.sdiag_protocol = IPPROTO_TCP;
    request.idiag_states = 1U << TCP_LISTEN;
    Question question;
    const int error = question.ask(request, true, [&](const inet_diag_msg& found, const std::byte* attributes, std::size_t size) {
      listeners.push_back(Listener{.v6 = family == AF_INET6,
                                   .v6_only = family == AF_INET6 && v6_only(attributes, size),
                                   .address = address_text(family, found.id.idiag_src),
                                   .port = ntohs(found.id.idiag_sport),
                                   .inode = found.idiag_inode});
    });
    if (error != 0 && error != ENOENT) return fail_errno("cannot ask the kernel who listens (sock_diag)", error);
  }
  return listeners;
}

Expected<bool> connection_at(bool v6, const std::string& client_address, std::uint16_t client_port,
                             const std::string& server_address, std::uint16_t server_port) {
  const int family = v6 ? AF_INET6 : AF_INET;
  inet_diag_req_v2 request{};
  request.sdiag_family = static_cast<std::uint8_t>(family);
  request.sdiag_protocol = IPPROTO_TCP;
  request.id.idiag_sport = htons(server_port);
  request.id.idiag_dport = htons(client_port);
  request.id.idiag_cookie[0] = request.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  if (::inet_pton(family, server_address.c_str(), request.id.idiag_src) != 1 ||
      ::inet_pton(family, client_address.c_str(), request.id.idiag_dst) != 1) {
    return fail("not an address: " + server_address + ", " + client_address);
  }
  bool connected = false;
  Question question;
  const int error = question.ask(request, false, [&connected, client_port](const inet_diag_msg& found, const std::byte*, std::size_t) {
    // Where there is no connection the kernel finds the listener.
    connected = found.idiag_state != TCP_LISTEN && ntohs(found.id.idiag_dport) == client_port;
  });
  if (error != 0 && error != ENOENT) return fail_errno("cannot ask the kernel for a connection (sock_diag)", error);
  return connected;
}

Holders holders_of(std::uint32_t inode, pid_t pid) {
  const std::string link = "socket:[" + std::to_string(inode) + "]";
  const std::vector<std::string> own = control_groups(pid);
  Holders holders;
  std::error_code error;
  for (fs::directory_iterator entry("/proc", error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename();
    pid_t candidate = 0;
    const auto [stop, problem] = std::from_chars(name.data(), name.data() + name.size(), candidate);
    if (problem != std::errc{} || stop != name.data() + name.size() || !has_open(entry->path(), link)) continue;
    holders.any = candidate;
    if (!within(control_groups(candidate), own)) holders.stranger = candidate;
  }
  return holders;
}

std::string describe_process(pid_t pid) {
  const std::string name = first_line_of("/proc/" + std::to_string(pid) + "/comm");
  return (name.empty() ? "a process" : name) + " (" + std::to_string(pid) + ")";
}

}  // namespace dualdeploy::traffic
