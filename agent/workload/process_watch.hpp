#pragma once

#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>
#include <cstdint>
#include <functional>
#include <memory>

namespace dualdeploy::workload {

/// Tells at once when a process ends that is not a child of ours, by pidfd_open(2) (Linux 5.3). On older kernels
/// /proc/PID/stat is read ten times a second.
class ProcessWatch {
 public:
  using OnDeath = std::function<void(pid_t)>;
  enum class Means : std::uint8_t { best, polling };

  ProcessWatch(boost::asio::any_io_executor executor, OnDeath on_death, Means means = Means::best);
  ~ProcessWatch();
  ProcessWatch(const ProcessWatch&) = delete;
  ProcessWatch& operator=(const ProcessWatch&) = delete;

  /// Watches `pid` from now on, instead of an earlier one. A process that is gone already is reported too.
  void follow(pid_t pid);
  void stop();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace dualdeploy::workload
