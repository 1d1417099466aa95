#pragma once

#include <string>

namespace dualdeploy::host {

/// "SIGKILL"; "signal 60" for one without a name (signal(7)). glibc's sigabbrev_np(3) is too new for CentOS 7.
[[nodiscard]] std::string signal_name(int signal);

}  // namespace dualdeploy::host
