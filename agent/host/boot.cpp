#include "host/boot.hpp"

#include <fstream>

namespace dualdeploy::host {

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

}  // namespace dualdeploy::host
