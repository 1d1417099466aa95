#include "host/notify.hpp"

#include <systemd/sd-daemon.h>
#include <time.h>

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>

namespace dualdeploy::host {
namespace {
void notify(const std::string& text) { (void)::sd_notify(0, text.c_str()); }
}  // namespace

void notify_ready() { notify("READY=1"); }
void notify_stopping() { notify("STOPPING=1"); }
void notify_status(const std::string& text) { notify("STATUS=" + text); }

void notify_reloading() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const auto usec = static_cast<std::int64_t>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1'000;
  notify("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(usec));
}

struct Watchdog::Impl : std::enable_shared_from_this<Impl> {
  Impl(const boost::asio::any_io_executor& executor, std::chrono::microseconds every_in)
      : timer(executor), every(every_in) {}

  void pet() {
    notify("WATCHDOG=1");
    timer.expires_after(every);
    timer.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
      if (!error) self->pet();
    });
  }

  boost::asio::steady_timer timer;
  std::chrono::microseconds every;
};

Watchdog::Watchdog(const boost::asio::any_io_executor& executor) {
  std::uint64_t usec = 0;
  if (::sd_watchdog_enabled(0, &usec) <= 0) return;
  constexpr int pets_per_period = 3;
  impl_ = std::make_shared<Impl>(executor, std::chrono::microseconds(usec / pets_per_period));
  impl_->pet();
}

Watchdog::~Watchdog() {
  if (impl_) impl_->timer.cancel();
}

std::vector<int> passed_sockets() {
  std::vector<int> sockets;
  const int count = ::sd_listen_fds(1);
  for (int i = 0; i < count; ++i) sockets.push_back(SD_LISTEN_FDS_START + i);
  return sockets;
}

}  // namespace dualdeploy::host
