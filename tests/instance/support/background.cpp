#include "instance/support/background.hpp"

namespace dualdeploy::testing {

Background::Background(const Instance& instance, const std::string& command, const std::string& log)
    : pid_(instance.do_client(command + " >" + log + " 2>&1 & echo $!")) {
  pid_.erase(pid_.find_last_not_of('\n') + 1);
}

Background::~Background() {
  if (!pid_.empty()) (void)shell("kill " + pid_ + "; tail --pid=" + pid_ + " -f /dev/null");
}

}  // namespace dualdeploy::testing
