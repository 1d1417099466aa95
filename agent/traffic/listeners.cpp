#include "traffic/listeners.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <fstream>

#include "core/printable.hpp"
#include "host/helper.hpp"
#include "host/text.hpp"
#include "traffic/inet_diag.hpp"
#include "traffic/inet_diag_socket.hpp"

namespace dualdeploy::traffic {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::chrono::seconds patience{2};

/// An IPv4 address is the end of a mapped one.
template <class Bytes>
auto* bytes_of(Bytes& address, int family) {
  return address.data() + (family == AF_INET6 ? 0 : address.size() - sizeof(in_addr));
}

/// Empty for any address.
std::string address_text(const inet_diag::End& end, int family) {
  std::array<char, INET6_ADDRSTRLEN> buffer{};
  ::inet_ntop(family, bytes_of(end.address, family), buffer.data(), buffer.size());
  const std::string text = buffer.data();
  return text == "0.0.0.0" || text == "::" ? "" : text;
}

std::optional<inet_diag::End> end_of(int family, const std::string& address, std::uint16_t port) {
  inet_diag::End end{.port = port};
  if (::inet_pton(family, address.c_str(), bytes_of(end.address, family)) != 1) return std::nullopt;
  return end;
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

/// Of a server's end: the client has not closed its own (RFC 9293, 3.3.2).
bool client_still_there(std::uint8_t state) {
  return state == TCP_SYN_RECV || state == TCP_ESTABLISHED || state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2;
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
  boost::asio::io_context unused;  // The kernel answers within the system calls: nothing is waited for.
  const auto kernel = inet_diag::Conversation::open(unused.get_executor(), patience);
  if (!kernel) return std::unexpected(kernel.error());
  std::vector<Listener> listeners;
  for (const std::uint8_t family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}}) {
    auto answer = (*kernel)->ask(inet_diag::list_listeners((*kernel)->next_sequence(), family));
    while (true) {
      if (!answer) return std::unexpected(answer.error());
      if (const int error = answer->refusal(); error != 0 && error != ENOENT) {
        return fail_errno("cannot ask the kernel who listens (sock_diag)", error);
      }
      for (const inet_diag::Socket& socket : answer->sockets) {
        listeners.push_back(Listener{.v6 = family == AF_INET6,
                                     .v6_only = socket.v6_only,
                                     .address = address_text(socket.local, family),
                                     .port = socket.local.port,
                                     .inode = socket.inode});
      }
      if (answer->done || !answer->verdicts.empty()) break;
      answer = (*kernel)->more();
    }
  }
  return listeners;
}

Expected<bool> connection_at(bool v6, const std::string& client_address, std::uint16_t client_port,
                             const std::string& server_address, std::uint16_t server_port) {
  const std::uint8_t family = v6 ? AF_INET6 : AF_INET;
  const auto server = end_of(family, server_address, server_port);
  const auto client = end_of(family, client_address, client_port);
  if (!server || !client) return fail("not an address: " + server_address + ", " + client_address);
  boost::asio::io_context unused;
  const auto kernel = inet_diag::Conversation::open(unused.get_executor(), patience);
  if (!kernel) return std::unexpected(kernel.error());
  const auto answer = (*kernel)->ask(inet_diag::find((*kernel)->next_sequence(), family, *server, *client));
  if (!answer) return std::unexpected(answer.error());
  if (const int error = answer->refusal(); error != 0 && error != ENOENT) {
    return fail_errno("cannot ask the kernel for a connection (sock_diag)", error);
  }
  // Where there is no connection the kernel finds the listener.
  return std::ranges::any_of(answer->sockets, [client_port](const inet_diag::Socket& socket) {
    return client_still_there(socket.state) && socket.remote.port == client_port;
  });
}

Holders holders_of(std::uint32_t inode, pid_t pid) {
  const auto helper = host::helper_socket();
  if (!helper) return holders_seen_from_here(inode, pid);
  const auto answer = host::ask_helper(*helper, json::object{{"holders", json::object{{"inode", std::int64_t{inode}}, {"pid", pid}}}});
  if (!answer) {
    spdlog::warn("who holds a socket is not known: {}", answer.error().message);
    return {};
  }
  const auto pid_in = [&answer](std::string_view name) {
    const json::value* value = answer->if_contains(name);
    return value != nullptr && value->is_int64() ? static_cast<pid_t>(value->get_int64()) : 0;
  };
  return Holders{.any = pid_in("any"), .stranger = pid_in("stranger")};
}

Holders holders_seen_from_here(std::uint32_t inode, pid_t pid) {
  const std::string link = "socket:[" + std::to_string(inode) + "]";
  // Whoever else has it open got it from there: no need to go through all files of all processes.
  if (pid != 0 && has_open(fs::path("/proc") / std::to_string(pid), link)) return Holders{.any = pid, .stranger = 0};
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
  const std::string name = host::first_line_of("/proc/" + std::to_string(pid) + "/comm");
  // Any user may give a process of his any name.
  return (name.empty() ? "a process" : printable(name)) + " (" + std::to_string(pid) + ")";
}

}  // namespace dualdeploy::traffic
