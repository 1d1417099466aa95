#pragma once

#include <cstdint>
#include <string>

#include "core/types.hpp"

namespace dualdeploy {

/// When a side is called healthy or sick, and how it is started again.
struct SidePolicy {
  int rise = 2;  ///< Good checks in a row that make a sick side healthy.
  int fall = 3;  ///< Bad checks in a row that make a healthy side sick.
  /// After a start, failures do not count for so long (until the first success).
  Milliseconds start_period{10'000};
  /// Starts and restarts by the agent: the first after `restart_delay`, each next after twice that, at most
  /// `restart_delay_max`; after `restart_limit` in a row without having been healthy for `restart_reset`, none for
  /// `restart_rest`.
  Milliseconds restart_delay{1'000};
  Milliseconds restart_delay_max{60'000};
  int restart_limit = 10;
  Milliseconds restart_reset{60'000};
  Milliseconds restart_rest{600'000};
  bool operator==(const SidePolicy&) const = default;
};

/// How new connections change sides.
enum class Strategy : std::uint8_t {
  redirect,  ///< Both sides run, on ports of their own; the kernel sends connections to one or the other.
  handover,  ///< There is one port, and one side has it: a flip stops one and starts the other while the kernel holds SYNs.
};
/// Whether the container runs while nothing is routed to it.
enum class Standby : std::uint8_t {
  warm,  ///< Always, ready for a flip.
  cold,  ///< A flip starts it; it ends when it has not been used for `stop_after`.
};
/// What a sick RPM means while the container is healthy.
enum class RpmUnhealthy : std::uint8_t {
  stay,      ///< An alarm, and the operator decides.
  failover,  ///< New connections go to the container.
};

/// What the decisions about one service need to know of its configuration.
struct ServicePolicy {
  std::string name;
  Side initial = Side::rpm;  ///< The route of a machine that has no saved one.
  PerSide<SidePolicy> sides;
  /// So long after a flip to the container one failed check is enough to revert.
  Milliseconds bake{30'000};
  Strategy strategy = Strategy::redirect;
  /// In a handover: so long from the start of a side until it is healthy, or everything goes back.
  Milliseconds handover_deadline{30'000};
  /// A flip to the container is refused unless both sides were built from the same revision.
  bool parity = true;
  std::string image_id;  ///< The only image that may be flipped to, "sha256:…"; empty: any.
  /// Real connections through the front prove a flip before it counts.
  bool proof = true;
  bool before_hook = false;  ///< There is a program to ask before a flip.
  bool after_hook = false;   ///< There is a program to tell after a change.
  Standby standby = Standby::warm;
  Milliseconds stop_after{600'000};
  RpmUnhealthy rpm_unhealthy = RpmUnhealthy::stay;
  /// So long the agent waits at its start for an intended container to become healthy before it reports ready anyway.
  Milliseconds start_patience{15'000};
  bool operator==(const ServicePolicy&) const = default;
};

}  // namespace dualdeploy
