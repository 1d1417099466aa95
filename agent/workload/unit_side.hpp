#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <memory>

#include "config/config.hpp"
#include "workload/systemd.hpp"
#include "workload/workload_side.hpp"

namespace dualdeploy::workload {

/// The RPM side: a systemd unit. systemd is its supervisor; this side watches it and asks for jobs.
class UnitSide final : public WorkloadSide {
 public:
  UnitSide(boost::asio::any_io_executor executor, std::shared_ptr<Systemd> systemd, config::RpmSide config, Report report);
  ~UnitSide() override;

  void watch() override;
  [[nodiscard]] boost::asio::awaitable<void> refresh() override;
  [[nodiscard]] boost::asio::awaitable<Expected<void>> prepare() override;
  [[nodiscard]] boost::asio::awaitable<Expected<void>> start() override;
  [[nodiscard]] boost::asio::awaitable<Expected<void>> restart() override;
  [[nodiscard]] boost::asio::awaitable<Expected<void>> stop() override;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace dualdeploy::workload
