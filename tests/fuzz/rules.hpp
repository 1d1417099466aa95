#pragma once

#include <fuzzer/FuzzedDataProvider.h>

#include <array>
#include <string>

#include "traffic/rules.hpp"

namespace dualdeploy::fuzz {

inline constexpr Instant now{Milliseconds{1'000'000}};

/// Some networks, none of which is part of another's name.
inline std::vector<Network> take_testers(FuzzedDataProvider& bytes) {
  constexpr std::array<const char*, 8> texts{"10.0.0.0/8",    "10.1.0.0/16",    "192.0.2.7",    "198.51.100.0/24",
                                             "2001:db8::/32", "2001:db8::1",    "fe80::/10",    "::1"};
  std::vector<Network> testers;
  for (std::size_t left = bytes.ConsumeIntegralInRange<std::size_t>(0, 4); left > 0; --left) {
    testers.push_back(*Network::parse(bytes.PickValueInArray(texts)));
  }
  return testers;
}

inline std::vector<config::Port> take_ports(FuzzedDataProvider& bytes, std::uint16_t first) {
  std::vector<config::Port> ports;
  const auto count = bytes.ConsumeIntegralInRange<std::uint16_t>(1, 3);
  for (std::uint16_t i = 0; i < count; ++i) {
    config::Port port{.front = static_cast<std::uint16_t>(first + i), .rpm = static_cast<std::uint16_t>(first + i),
                      .container = static_cast<std::uint16_t>(first + 8'000 + i)};
    if (bytes.ConsumeBool()) port.rpm = static_cast<std::uint16_t>(first + 9'000 + i);
    if (bytes.ConsumeBool()) port.protocol = config::Protocol::udp;
    ports.push_back(port);
  }
  return ports;
}

/// What changes of a service while its configuration stays.
inline void change(traffic::ServiceRules& service, FuzzedDataProvider& bytes) {
  service.planned = Route::of(bytes.ConsumeIntegralInRange(0, 100), bytes.ConsumeBool(), take_testers(bytes));
  service.active = bytes.ConsumeBool();
  service.until.reset();
  service.held_until.reset();
  if (bytes.ConsumeBool()) service.until = now + Milliseconds{bytes.ConsumeIntegralInRange(-10'000, 100'000)};
  if (bytes.ConsumeBool()) service.held_until = now + Milliseconds{bytes.ConsumeIntegralInRange(-10'000, 100'000)};
}

inline traffic::Rules take_rules(FuzzedDataProvider& bytes) {
  constexpr std::array<const char*, 6> names{"a", "shop", "home-shop", "0", "a-service-with-a-very-long-name1", "a-service-with-a-very-long-name2"};
  traffic::Rules rules;
  rules.probe_mark = bytes.ConsumeIntegralInRange<std::uint32_t>(1, 0xffff'ffff);
  if (bytes.ConsumeBool()) rules.probe_group = 990;
  rules.lease = Milliseconds{bytes.ConsumeIntegralInRange(3'000, 600'000)};
  std::uint16_t first = 80;
  for (auto left = bytes.ConsumeIntegralInRange(0, 3); left > 0; --left) {
    const char* name = bytes.PickValueInArray(names);
    traffic::ServiceRules service{.name = name, .ports = take_ports(bytes, first), .local_traffic = bytes.ConsumeBool(),
                                  .guard = bytes.ConsumeBool()};
    change(service, bytes);
    rules.services.emplace(name, std::move(service));
    first = static_cast<std::uint16_t>(first + 10);
  }
  return rules;
}

/// Whether packets reach the service's rules `least` from now on.
inline bool is_live(const traffic::ServiceRules& service, Milliseconds least) {
  return service.active && !service.planned.all_rpm() && (!service.until || *service.until - now >= least);
}

}  // namespace dualdeploy::fuzz
