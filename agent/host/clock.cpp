#include "host/clock.hpp"

#include <time.h>

namespace dualdeploy::host {

Instant now() {
  timespec time{};
  ::clock_gettime(CLOCK_BOOTTIME, &time);
  return Instant(Milliseconds(static_cast<std::int64_t>(time.tv_sec) * 1'000 + time.tv_nsec / 1'000'000));
}

}  // namespace dualdeploy::host
