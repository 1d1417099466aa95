#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>

#include "core/types.hpp"

namespace dualdeploy::workload {

/// One side of one service as something that can be watched, started and stopped. Two kinds: a systemd unit and a
/// container. Each reports through the callback it was constructed with, always from the io_context's thread.
class WorkloadSide {
 public:
  /// Called with the full picture at first sight and at every change.
  using Report = std::function<void(const Workload&)>;

  virtual ~WorkloadSide() = default;

  /// Begins to watch; the first report follows without a wait for any deadline. Returns at once.
  virtual void watch() = 0;

  /// Asks again what is installed (revision and artifact); a report follows before this completes, if it changed.
  [[nodiscard]] virtual boost::asio::awaitable<void> refresh() = 0;

  /// Does all of a start that can be done while the side is down, so that the start itself is quick.
  [[nodiscard]] virtual boost::asio::awaitable<Expected<void>> prepare() = 0;

  /// Brings the side up (start) or down and up (restart), or down. Completes when the supervisor says that it is done,
  /// with an error when it says no or did not answer within its deadline.
  [[nodiscard]] virtual boost::asio::awaitable<Expected<void>> start() = 0;
  [[nodiscard]] virtual boost::asio::awaitable<Expected<void>> restart() = 0;
  [[nodiscard]] virtual boost::asio::awaitable<Expected<void>> stop() = 0;
};

}  // namespace dualdeploy::workload
