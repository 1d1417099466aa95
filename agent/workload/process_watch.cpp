#include "workload/process_watch.hpp"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

// Newer than the C library of CentOS 7.
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace dualdeploy::workload {

namespace asio = boost::asio;

namespace {

constexpr std::chrono::milliseconds poll_interval{100};

/// When a process began (proc(5), /proc/PID/stat, field 22), which tells it from a later one with the same pid; nothing
/// when it has ended, also if its parent has not fetched its status yet.
std::optional<std::string> began(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string stat;
  if (!std::getline(file, stat)) return std::nullopt;
  // The name may have blanks and brackets in it; the last bracket ends it.
  std::istringstream fields(stat.substr(stat.rfind(')') + 1));
  std::string field;
  fields >> field;
  if (field == "Z" || field == "X") return std::nullopt;
  for (int number = 4; number <= 22; ++number) fields >> field;
  return field;
}

}  // namespace

struct ProcessWatch::Impl : std::enable_shared_from_this<Impl> {
  Impl(const asio::any_io_executor& executor, OnDeath callback, Means means_in)
      : descriptor(executor), timer(executor), on_death(std::move(callback)), means(means_in) {}

  void wait(std::uint64_t of_watch) {
    descriptor.async_wait(asio::posix::descriptor_base::wait_read,
                          [self = shared_from_this(), of_watch](const boost::system::error_code& error) {
                            if (!error) self->woken(of_watch);
                          });
  }

  /// A wait may end for nothing: the reactor recycles its records of descriptors. The kernel itself is asked.
  void woken(std::uint64_t of_watch) {
    if (of_watch != watch) return;
    pollfd state{descriptor.native_handle(), POLLIN, 0};
    if (::poll(&state, 1, 0) == 1 && (state.revents & POLLIN) != 0) {
      died(of_watch);
    } else {
      wait(of_watch);
    }
  }

  void poll_later(std::uint64_t of_watch, std::string start) {
    timer.expires_after(poll_interval);
    timer.async_wait([self = shared_from_this(), of_watch, start = std::move(start)](const boost::system::error_code& error) {
      if (error || of_watch != self->watch) return;
      if (began(self->pid) == start) {
        self->poll_later(of_watch, start);
      } else {
        self->died(of_watch);
      }
    });
  }

  void died(std::uint64_t of_watch) {
    if (of_watch != watch) return;  // Another process is watched by now.
    const pid_t dead = std::exchange(pid, 0);
    boost::system::error_code ignored;
    descriptor.close(ignored);
    on_death(dead);
  }

  asio::posix::stream_descriptor descriptor;
  asio::steady_timer timer;
  OnDeath on_death;
  Means means;
  pid_t pid = 0;
  std::uint64_t watch = 0;
};

ProcessWatch::ProcessWatch(asio::any_io_executor executor, OnDeath on_death, Means means)
    : impl_(std::make_shared<Impl>(executor, std::move(on_death), means)) {}

ProcessWatch::~ProcessWatch() { stop(); }

void ProcessWatch::stop() {
  ++impl_->watch;
  impl_->pid = 0;
  impl_->timer.cancel();
  boost::system::error_code ignored;
  if (impl_->descriptor.is_open()) impl_->descriptor.close(ignored);
}

void ProcessWatch::follow(pid_t pid) {
  if (pid == impl_->pid && pid != 0) return;
  stop();
  if (pid <= 0) return;
  impl_->pid = pid;
  const std::uint64_t watch = impl_->watch;
  if (impl_->means == Means::best) {
    const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
    if (fd >= 0) {
      impl_->descriptor.assign(fd);
      impl_->wait(watch);
      return;
    }
  }
  if (auto start = began(pid)) {
    impl_->poll_later(watch, std::move(*start));
  } else {
    asio::post(impl_->descriptor.get_executor(), [self = impl_, watch] { self->died(watch); });
  }
}

}  // namespace dualdeploy::workload
