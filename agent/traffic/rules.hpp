#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/config.hpp"
#include "core/service.hpp"
#include "core/types.hpp"

/// What the kernel shall hold, independent of the backend that puts it there.
namespace dualdeploy::traffic {

/// One service as the kernel shall treat it.
struct ServiceRules {
  std::string name;
  std::vector<config::Port> ports;
  bool local_traffic = true;
  bool guard = true;
  /// Where the service shall be sent. Rules for it exist as soon as it is not all to the RPM...
  Route planned;
  /// ...but they are reached by packets only while this is set, and only as long as the lease is renewed.
  bool active = false;
  /// The lease is never renewed past this moment: a route that has to be confirmed by then.
  std::optional<Instant> until;
  /// New connections to the front ports are dropped (and so tried again by their clients), at most until then.
  std::optional<Instant> held_until;

  [[nodiscard]] Route effective() const { return active ? planned : Route{}; }
  bool operator==(const ServiceRules&) const = default;
};

struct Rules {
  std::map<std::string, ServiceRules> services;
  std::uint32_t probe_mark = 0xdd;
  std::optional<gid_t> probe_group;  ///< Connections of this group on this host are not redirected: exec checks.
  Milliseconds lease{60'000};
  bool operator==(const Rules&) const = default;
};

/// The front ports that let nobody in, and for how long yet.
using HeldPorts = std::map<std::pair<config::Protocol, std::uint16_t>, Milliseconds>;

/// What the kernel holds now.
struct Observed {
  bool table_present = false;
  std::map<std::string, KernelRoute> services;
  HeldPorts held;
  /// Everything of ours as one comparable text, without counters, handles and remaining times.
  std::string fingerprint;
};

}  // namespace dualdeploy::traffic
