#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <memory>
#include <string>
#include <vector>

/// The agent's side of sd_notify(3): ready, reloading, status line, watchdog. A failed notification is never fatal and
/// never stops the next one.
namespace dualdeploy::host {

void notify_ready();
void notify_reloading();
void notify_stopping();
/// The line that `systemctl status` shows.
void notify_status(const std::string& text);

/// Pets systemd's watchdog (WATCHDOG_USEC) from the event loop, so that a stuck loop is noticed. Does nothing without.
class Watchdog {
 public:
  explicit Watchdog(const boost::asio::any_io_executor& executor);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

/// The sockets that systemd has passed (sd_listen_fds(3)); empty when not socket-activated.
[[nodiscard]] std::vector<int> passed_sockets();

}  // namespace dualdeploy::host
