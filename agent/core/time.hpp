#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.hpp"

namespace dualdeploy {

using Milliseconds = std::chrono::milliseconds;

/// The monotonic time line the decisions are made on. It has no now(): time comes in as an argument, so that a
/// simulation can be its clock. The daemon fills it from CLOCK_BOOTTIME (a suspended machine has aged).
struct AgentClock {
  using rep = std::int64_t;
  using period = std::milli;
  using duration = Milliseconds;
  using time_point = std::chrono::time_point<AgentClock>;
  static constexpr bool is_steady = true;
};
using Instant = AgentClock::time_point;

/// Parses `500ms`, `30s`, `5m`, `2h` or `1d`: a whole number and one unit. Zero is allowed. A number without a unit is
/// an error, since nobody should have to guess it.
[[nodiscard]] Expected<Milliseconds> parse_duration(std::string_view text);

/// The shortest form that parse_duration reads back, for example `90s`, `5m`, `1500ms`.
[[nodiscard]] std::string format_duration(Milliseconds duration);

}  // namespace dualdeploy
