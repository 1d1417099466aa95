#include "traffic/proof.hpp"

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <set>
#include <string>

#include "traffic/listeners.hpp"

namespace dualdeploy::traffic {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;

namespace {

constexpr Milliseconds connect_deadline{2'000};

/// Address translation chooses another source port where a tracked connection has the same (a check of a moment ago, for
/// example, which connected to the container directly). Then the server's end is not found by the client's port, and another
/// connection has to tell.
constexpr int most_attempts = 10;
constexpr std::string_view nowhere = "somebody else";

/// Where a port is listened on, in one address family. An empty text is any address.
std::set<std::string> addresses(const std::vector<Listener>& listeners, std::uint16_t port, bool v6) {
  std::set<std::string> found;
  for (const Listener& listener : listeners) {
    if (listener.port != port) continue;
    const bool takes = v6 ? listener.v6 : !listener.v6 || (listener.address.empty() && !listener.v6_only);
    if (takes) found.insert(listener.address);
  }
  return found;
}

std::string where(const std::string& address, std::uint16_t port, bool v6) {
  const std::string host = address.empty() ? (v6 ? "[::]" : "0.0.0.0") : (v6 ? "[" + address + "]" : address);
  return host + ":" + std::to_string(port);
}

/// Whoever reaches the RPM today must reach the container tomorrow.
Expected<void> covers(const std::vector<Listener>& listeners, const config::Port& port, bool v6) {
  const std::set<std::string> container = addresses(listeners, port.container, v6);
  for (const std::string& address : addresses(listeners, port.rpm, v6)) {
    if (container.contains("") || container.contains(address)) continue;
    return fail("the RPM listens on " + where(address, port.rpm, v6) + " and nothing on " + where(address, port.container, v6));
  }
  return {};
}

Expected<void> belongs_to_container(const std::vector<Listener>& listeners, const config::Port& port, std::int64_t pid) {
  if (pid == 0) return {};
  for (const Listener& listener : listeners) {
    if (listener.port != port.container) continue;
    const Holders holders = holders_of(listener.inode, static_cast<pid_t>(pid));
    if (holders.stranger == 0) continue;
    return fail("port " + std::to_string(port.container) + " is listened on by " + describe_process(holders.stranger) +
                ", which is not of the container (" + describe_process(static_cast<pid_t>(pid)) + ")");
  }
  return {};
}

std::string arrival(const tcp::socket& socket, const config::Port& port, bool v6) {
  boost::system::error_code error;
  const tcp::endpoint client = socket.local_endpoint(error);
  const tcp::endpoint server = socket.remote_endpoint(error);
  if (error) return "the connection ended at once";
  for (const Side side : both_sides) {
    const std::uint16_t candidate = side == Side::rpm ? port.rpm : port.container;
    const auto there = connection_at(v6, client.address().to_string(), client.port(), server.address().to_string(), candidate);
    if (there && *there) return std::string(name_of(side));
  }
  return std::string(nowhere);
}

/// What one connection to the front port reaches: a side's name, or `nowhere`.
asio::awaitable<Expected<std::string>> reached_by_one(config::Port port, bool v6, std::string address) {
  const auto executor = co_await asio::this_coro::executor;
  const tcp::endpoint front(asio::ip::make_address(address), port.front);
  tcp::socket socket(executor);
  boost::system::error_code error;
  asio::steady_timer deadline(executor, connect_deadline);
  deadline.async_wait([&socket](const boost::system::error_code& cancelled) {
    boost::system::error_code ignored;
    if (!cancelled) socket.cancel(ignored);
  });
  co_await socket.async_connect(front, asio::redirect_error(asio::use_awaitable, error));
  deadline.cancel();
  if (error == asio::error::operation_aborted) co_return fail("did not open within " + format_duration(connect_deadline));
  if (error) co_return fail("failed: " + error.message());
  std::string reached = arrival(socket, port, v6);
  // Closed with a reset: the service need not wait for a request that never comes, and no port is left in TIME_WAIT.
  socket.set_option(asio::socket_base::linger(true, 0), error);
  co_return reached;
}

/// Whether connections to the front port reach a side that the route may send them to.
asio::awaitable<Expected<void>> arrives(config::Port port, bool v6, std::string address, Route route) {
  const std::string text = address.empty() ? (v6 ? "::1" : "127.0.0.1") : address;
  const std::string attempt = "a connection to " + where(text, port.front, v6);
  std::string reached(nowhere);
  for (int i = 0; i < most_attempts && reached == nowhere; ++i) {
    auto one = co_await reached_by_one(port, v6, text);
    if (!one) co_return fail(attempt + " " + one.error().message);
    reached = std::move(*one);
  }
  const std::optional<Side> side = side_named(reached);
  if (side && route.uses(*side)) co_return Expected<void>{};
  co_return fail(attempt + " reached " + (side ? "the " + reached : reached) + ", the route is " + describe(route));
}

}  // namespace

Expected<void> inspect(const ProofOf& what) {
  if (!what.route.uses(Side::container)) return {};
  const auto listeners = tcp_listeners();
  if (!listeners) return std::unexpected(listeners.error());
  for (const config::Port& port : what.ports) {
    if (port.protocol != config::Protocol::tcp) continue;
    if (auto owner = belongs_to_container(*listeners, port, what.pids[Side::container]); !owner) return owner;
    for (const bool v6 : {false, true}) {
      if (auto covered = covers(*listeners, port, v6); !covered) return covered;
    }
  }
  return {};
}

Expected<void> all_free(const std::vector<config::Port>& ports, pid_t pid) {
  const auto listeners = tcp_listeners();
  if (!listeners) return std::unexpected(listeners.error());
  for (const config::Port& port : ports) {
    if (port.protocol != config::Protocol::tcp) continue;
    const auto found = std::ranges::find(*listeners, port.front, &Listener::port);
    if (found == listeners->end()) continue;
    const Holders holders = holders_of(found->inode, pid);
    if (pid != 0 && holders.any != 0 && holders.stranger == 0) continue;
    const pid_t holder = holders.stranger != 0 ? holders.stranger : holders.any;
    return fail("port " + std::to_string(port.front) + " is still listened on by " +
                (holder == 0 ? std::string("somebody") : describe_process(holder)));
  }
  return {};
}

asio::awaitable<Expected<void>> prove(ProofOf what) {
  if (!what.local_traffic) co_return Expected<void>{};
  const auto listeners = tcp_listeners();
  if (!listeners) co_return std::unexpected(listeners.error());
  const Side side = what.route.uses(Side::container) ? Side::container : Side::rpm;
  for (const config::Port& port : what.ports) {
    if (port.protocol != config::Protocol::tcp) continue;
    for (const bool v6 : {false, true}) {
      for (const std::string& address : addresses(*listeners, side == Side::rpm ? port.rpm : port.container, v6)) {
        auto arrived = co_await arrives(port, v6, address, what.route);
        if (!arrived) co_return arrived;
      }
    }
  }
  co_return Expected<void>{};
}

}  // namespace dualdeploy::traffic
