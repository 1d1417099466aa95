#pragma once

#include <cstdint>
#include <string>

namespace dualdeploy::host {

/// Milliseconds since 1970 by the wall clock: for records only. Nothing is decided by it, since it can jump.
[[nodiscard]] std::int64_t wall_unix_ms();

/// RFC 3339 in UTC with milliseconds: 2026-11-23T12:00:00.123Z.
[[nodiscard]] std::string format_utc(std::int64_t unix_ms);

}  // namespace dualdeploy::host
