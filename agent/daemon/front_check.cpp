#include "daemon/front_check.hpp"

#include <algorithm>

#include "health/probe.hpp"

namespace dualdeploy::daemon {

namespace asio = boost::asio;

namespace {

/// Load balancers themselves wait for 5 s as a rule.
constexpr Milliseconds longest{4'000};

std::optional<ProbeFailure> side_failure(const Route& route, const PerSide<Verdict>& verdicts) {
  for (const Side side : both_sides) {
    if (route.uses(side) && verdicts[side] == Verdict::healthy) return std::nullopt;
  }
  return ProbeFailure{"no side with traffic (" + describe(route) + ") is healthy", ""};
}

}  // namespace

asio::awaitable<std::optional<ProbeFailure>> check_front(config::Service service, Route route, PerSide<Verdict> verdicts) {
  const auto front = std::ranges::find(service.ports, config::Protocol::tcp, &config::Port::protocol);
  // Connections of this host's own do not follow the route, or there is no way to connect: what the checks say counts.
  if (front == service.ports.end() || !service.local_traffic) co_return side_failure(route, verdicts);
  config::Check check = service.rpm.check;
  check.timeout = std::min(check.timeout, longest);
  auto* http = std::get_if<config::HttpCheck>(&check.probe);
  if (http != nullptr && (http->port == 0 || http->port == front->rpm)) {
    http->port = front->front;
  } else {
    if (auto failure = side_failure(route, verdicts)) co_return failure;
    check.probe = config::TcpCheck{.port = front->front, .address = "127.0.0.1"};
  }
  const health::ProbeIdentity a_client;
  const std::uint16_t port = front->front;
  co_return co_await health::probe(std::move(check), port, a_client);
}

}  // namespace dualdeploy::daemon
