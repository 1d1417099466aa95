#include "host/crash_point.hpp"

#ifdef DUALDEPLOY_CRASH_POINTS

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <string>

namespace dualdeploy::host {

void crash_point(std::string_view name) {
  static const char* const directory = std::getenv("DUALDEPLOY_CRASH_DIRECTORY");
  if (directory == nullptr || name.empty()) return;
  static std::mutex mutex;  // Files are written by a thread of their own.
  const std::lock_guard lock(mutex);
  const std::filesystem::path trace = std::filesystem::path(directory) / "trace";
  const std::filesystem::path at = std::filesystem::path(directory) / "at";
  if (std::filesystem::exists(trace)) std::ofstream(trace, std::ios::app) << name << '\n';
  std::ifstream wanted(at);
  int number = 0;
  std::string wanted_name;
  if (!(wanted >> number) || !std::getline(wanted >> std::ws, wanted_name) || wanted_name != name) return;
  if (number > 1) {
    std::ofstream(at, std::ios::trunc) << number - 1 << ' ' << name << '\n';
    return;
  }
  std::filesystem::remove(at);
  (void)std::raise(SIGKILL);
}

}  // namespace dualdeploy::host

#endif
