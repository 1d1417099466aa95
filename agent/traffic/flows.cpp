#include "traffic/flows.hpp"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <boost/asio/use_awaitable.hpp>
#include <ranges>
#include <set>
#include <string>

#include "host/command.hpp"
#include "host/text.hpp"

namespace dualdeploy::traffic {

namespace asio = boost::asio;

namespace {

/// The flows of this host alone: one that is only forwarded, to a port of the same number, is none of ours.
std::set<std::string> local_addresses() {
  std::set<std::string> addresses;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return addresses;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr) continue;
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (entry->ifa_addr->sa_family == AF_INET) {
      const auto* v4 = reinterpret_cast<const sockaddr_in*>(entry->ifa_addr);
      ::inet_ntop(AF_INET, &v4->sin_addr, text.data(), text.size());
    } else if (entry->ifa_addr->sa_family == AF_INET6) {
      const auto* v6 = reinterpret_cast<const sockaddr_in6*>(entry->ifa_addr);
      ::inet_ntop(AF_INET6, &v6->sin6_addr, text.data(), text.size());
    }
    if (text[0] != '\0') addresses.insert(text.data());
  }
  ::freeifaddrs(list);
  return addresses;
}

using Words = std::vector<std::string>;

/// What to delete of one port at one address, as conntrack(8) is told.
std::vector<Words> selections_of(const config::Port& port, const std::string& address, const Route& route) {
  const std::string family = address.find(':') == std::string::npos ? "ipv4" : "ipv6";
  Words to_the_front{"-f", family, "--orig-dst", address, "--orig-port-dst", std::to_string(port.front)};
  // Where everything goes to one side, flows that are there already may stay.
  if (!route.uses(Side::rpm) || !route.uses(Side::container)) {
    const std::uint16_t old_side = route.uses(Side::rpm) ? port.container : port.rpm;
    to_the_front.insert(to_the_front.end(), {"--reply-port-src", std::to_string(old_side)});
  }
  std::vector<Words> selections{std::move(to_the_front)};
  // While the RPM had the route, an answer of it without a flow may have begun one: the client's next datagram would seem
  // to belong to that. The container's port cannot (set `answering`).
  if (route.uses(Side::container)) {
    selections.push_back({"-f", family, "--orig-src", address, "--orig-port-src", std::to_string(port.rpm)});
  }
  return selections;
}

}  // namespace

asio::awaitable<Expected<void>> forget_udp_flows(ServiceRules service) {
  std::vector<Words> selections;
  const auto is_udp = [](const config::Port& port) { return port.protocol == config::Protocol::udp; };
  if (std::ranges::none_of(service.ports, is_udp)) co_return Expected<void>{};
  for (const std::string& address : local_addresses()) {
    for (const config::Port& port : service.ports | std::views::filter(is_udp)) {
      for (Words& selection : selections_of(port, address, service.effective())) selections.push_back(std::move(selection));
    }
  }
  for (Words& selection : selections) {
    host::Command command;
    command.argv = {"conntrack", "-D", "-p", "udp"};
    command.argv.insert(command.argv.end(), selection.begin(), selection.end());
    auto result = co_await host::run_command(std::move(command));
    if (!result) co_return std::unexpected(std::move(result.error()).within("conntrack"));
    // It also ends with 1 when there was nothing to delete, and says how many there were.
    const bool told = result->error.find("flow entries have been deleted") != std::string::npos;
    if (result->exit_status != 0 && !told) co_return fail("conntrack: " + host::first_line(result->error));
  }
  co_return Expected<void>{};
}

}  // namespace dualdeploy::traffic
