#include "host/boot.hpp"

#include <fstream>
#include <sstream>

namespace dualdeploy::host {
namespace {

/// Field 22 of /proc/1/stat, see proc_pid_stat(5). The name in field 2 may contain spaces and parentheses.
std::string start_of_first_process() {
  std::ifstream file("/proc/1/stat");
  std::string line;
  std::getline(file, line);
  const std::size_t name_end = line.rfind(") ");
  if (name_end == std::string::npos) return "";
  std::istringstream fields(line.substr(name_end + 2));
  std::string field;
  for (int number = 3; number <= 22; ++number) fields >> field;
  return field;
}

}  // namespace

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id + "/" + start_of_first_process();
}

}  // namespace dualdeploy::host
