#pragma once

#include <string_view>

namespace dualdeploy::host {

/// A named transition at which a test may end the agent as kill -9 would: nothing after it happens. What is packaged has
/// none of this: DUALDEPLOY_CRASH_POINTS is on in the presets for development only.
///
/// A test names a directory in the environment variable DUALDEPLOY_CRASH_DIRECTORY. There
///   trace   if it exists, gets a line for each transition passed
///   at      holds "NUMBER NAME": the agent ends as it passes NAME for the NUMBERth time from then on; removed first
#ifdef DUALDEPLOY_CRASH_POINTS
void crash_point(std::string_view name);
#else
inline void crash_point(std::string_view /*name*/) {}
#endif

}  // namespace dualdeploy::host
