#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <functional>
#include <memory>

#include "core/error.hpp"

namespace dualdeploy::host {

/// Tells when the wall clock was set rather than went on by itself (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET; Linux 3.0).
class ClockWatch {
 public:
  [[nodiscard]] static Expected<std::unique_ptr<ClockWatch>> open(boost::asio::any_io_executor executor,
                                                                  std::function<void()> on_set);
  ~ClockWatch();

 private:
  struct Impl;
  explicit ClockWatch(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace dualdeploy::host
