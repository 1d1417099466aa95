#include "traffic/connections.hpp"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/this_coro.hpp>
#include <cerrno>
#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "traffic/inet_diag.hpp"
#include "traffic/inet_diag_socket.hpp"

namespace dualdeploy::traffic {
namespace {

namespace asio = boost::asio;
using inet_diag::Conversation;
using inet_diag::Socket;

constexpr std::chrono::seconds patience{2};
constexpr int attempts = 3;
constexpr std::size_t most_remembered = 200'000;
constexpr std::size_t closed_at_once = 64;  // So that the answers fit the default receive buffer many times over.
constexpr std::array<std::uint8_t, 2> families{AF_INET, AF_INET6};

/// Whom connections come from and go to, as seen from the client.
using Pairs = std::set<std::pair<inet_diag::End, inet_diag::End>>;

struct Probes {
  Pairs pairs;
  void add(const Socket& socket) {
    if (pairs.size() < most_remembered) pairs.emplace(socket.local, socket.remote);
  }
};

struct Clients {
  const Pairs* probes = nullptr;
  bool to_close = false;  ///< Remember them, rather than only count.
  std::map<std::uint16_t, std::size_t> counts;
  std::vector<Socket> sockets;

  void add(const Socket& socket) {
    const auto count = counts.find(socket.local.port);
    if (count == counts.end()) return;
    if (socket.state == TCP_FIN_WAIT2 && !socket.held()) return;
    if (probes->contains({socket.remote, socket.local})) return;
    ++count->second;
    if (to_close && sockets.size() < most_remembered) sockets.push_back(socket);
  }
};

std::unexpected<Error> cannot_list(int error) {
  return fail_errno("this kernel does not list TCP connections (CONFIG_INET_TCP_DIAG)", error);
}
std::unexpected<Error> cannot_close(int error) {
  return fail_errno("this kernel cannot close connections (CONFIG_INET_DIAG_DESTROY, Linux 4.5 or newer)", error);
}

/// What one question ended in: errno of the kernel's refusal, 0 if the list is complete.
template <class Tally>
struct Listed {
  Tally tally;
  int refused = 0;
};

/// Adds what the kernel answers to `request` to `before`.
template <class Tally, class Request>
asio::awaitable<Expected<Listed<Tally>>> list(Conversation& kernel, Request request, Tally before) {
  for (int attempt = 0; attempt < attempts; ++attempt) {
    Listed<Tally> listed{before};
    bool interrupted = false;
    if (auto sent = kernel.send(request(kernel.next_sequence())); !sent) co_return std::unexpected(sent.error());
    for (bool done = false; !done;) {
      auto answer = co_await kernel.receive();
      if (!answer) co_return std::unexpected(std::move(answer.error()));
      listed.refused = answer->refusal();
      if (listed.refused != 0) co_return listed;
      for (const Socket& socket : answer->sockets) listed.tally.add(socket);
      interrupted = interrupted || answer->interrupted;
      done = answer->done;
    }
    if (!interrupted) co_return listed;
  }
  co_return fail("the kernel's list of connections was interrupted " + std::to_string(attempts) + " times");
}

asio::awaitable<Expected<Pairs>> find_probes(Conversation& kernel, const std::vector<std::uint16_t>& ports,
                                             std::uint32_t mark) {
  Probes probes;
  for (const std::uint8_t family : families) {
    const auto request = [&](std::uint32_t sequence) { return inet_diag::list_marked(sequence, family, ports, mark); };
    auto listed = co_await list(kernel, request, std::move(probes));
    if (!listed) co_return std::unexpected(std::move(listed.error()));
    const bool tells_no_marks = listed->refused == EINVAL || listed->refused == EPERM;
    if (tells_no_marks) co_return Pairs{};
    if (listed->refused != 0) co_return cannot_list(listed->refused);
    probes = std::move(listed->tally);
  }
  co_return std::move(probes.pairs);
}

asio::awaitable<Expected<Clients>> find_clients(Conversation& kernel, const std::vector<std::uint16_t>& ports,
                                                std::uint32_t probe_mark, bool to_close) {
  Pairs probes;
  if (probe_mark != 0) {
    auto found = co_await find_probes(kernel, ports, probe_mark);
    if (!found) co_return std::unexpected(std::move(found.error()));
    probes = std::move(*found);
  }
  Clients clients;
  clients.probes = &probes;
  clients.to_close = to_close;
  for (const std::uint16_t port : ports) clients.counts[port] = 0;
  for (const std::uint8_t family : families) {
    const auto request = [&](std::uint32_t sequence) { return inet_diag::list_served(sequence, family, ports); };
    auto listed = co_await list(kernel, request, std::move(clients));
    if (!listed) co_return std::unexpected(std::move(listed.error()));
    if (listed->refused != 0) co_return cannot_list(listed->refused);
    clients = std::move(listed->tally);
  }
  clients.probes = nullptr;
  co_return clients;
}

/// Closes the sockets from `first` on, as many as one question takes. Returns how many of them were still there.
asio::awaitable<Expected<std::size_t>> close_some(Conversation& kernel, const std::vector<Socket>& sockets,
                                                  std::size_t first) {
  const std::size_t asked = std::min(closed_at_once, sockets.size() - first);
  const std::uint32_t sequence = kernel.next_sequence();
  std::string request;
  for (std::size_t i = 0; i < asked; ++i) request += inet_diag::destroy(sequence, sockets[first + i]);
  if (auto sent = kernel.send(request); !sent) co_return std::unexpected(sent.error());
  std::size_t closed = 0;
  for (std::size_t answered = 0; answered < asked;) {
    auto answer = co_await kernel.receive();
    if (!answer) co_return std::unexpected(std::move(answer.error()));
    for (const int verdict : answer->verdicts) {
      if (verdict == EOPNOTSUPP || verdict == EINVAL) co_return cannot_close(verdict);
      const bool gone = verdict == ENOENT || verdict == ESTALE;
      if (verdict != 0 && !gone) co_return fail_errno("cannot close a connection", verdict);
      if (verdict == 0) ++closed;
      ++answered;
    }
  }
  co_return closed;
}

}  // namespace

asio::awaitable<Expected<std::map<std::uint16_t, std::size_t>>> count_connections(std::vector<std::uint16_t> ports,
                                                                                  std::uint32_t probe_mark) {
  std::map<std::uint16_t, std::size_t> none;
  if (ports.empty()) co_return none;
  const auto executor = co_await asio::this_coro::executor;
  const auto kernel = Conversation::open(executor, patience);
  if (!kernel) co_return std::unexpected(kernel.error());
  auto clients = co_await find_clients(**kernel, ports, probe_mark, false);
  if (!clients) co_return std::unexpected(std::move(clients.error()));
  co_return std::move(clients->counts);
}

asio::awaitable<Expected<std::size_t>> close_connections(std::vector<std::uint16_t> ports, std::uint32_t probe_mark) {
  if (ports.empty()) co_return std::size_t{0};
  const auto executor = co_await asio::this_coro::executor;
  const auto kernel = Conversation::open(executor, patience);
  if (!kernel) co_return std::unexpected(kernel.error());
  auto clients = co_await find_clients(**kernel, ports, probe_mark, true);
  if (!clients) co_return std::unexpected(std::move(clients.error()));
  std::size_t closed = 0;
  for (std::size_t first = 0; first < clients->sockets.size(); first += closed_at_once) {
    auto some = co_await close_some(**kernel, clients->sockets, first);
    if (!some) co_return std::unexpected(std::move(some.error()));
    closed += *some;
  }
  co_return closed;
}

Expected<void> can_close_connections() {
  asio::io_context unused;
  const auto kernel = Conversation::open(unused.get_executor(), patience);
  if (!kernel) return std::unexpected(kernel.error());
  // First, because a kernel that lists none says ENOENT to every question, also to the one below.
  const auto listing = (*kernel)->ask(inet_diag::list_nothing((*kernel)->next_sequence()));
  if (!listing) return std::unexpected(listing.error());
  if (listing->refusal() != 0) return cannot_list(listing->refusal());
  // From port 0 to port 0: nothing can be called so.
  Socket nobody;
  nobody.family = AF_INET;
  const auto closing = (*kernel)->ask(inet_diag::destroy((*kernel)->next_sequence(), nobody));
  if (!closing) return std::unexpected(closing.error());
  if (const int verdict = closing->refusal(); verdict != ENOENT && verdict != ESTALE) return cannot_close(verdict);
  return {};
}

}  // namespace dualdeploy::traffic
