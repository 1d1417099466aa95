#include "workload/process_watch.hpp"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>

namespace dualdeploy::workload {

namespace asio = boost::asio;

struct ProcessWatch::Impl : std::enable_shared_from_this<Impl> {
  Impl(const asio::any_io_executor& executor, OnDeath callback) : descriptor(executor), on_death(std::move(callback)) {}

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

  void died(std::uint64_t of_watch) {
    if (of_watch != watch) return;  // Another process is watched by now.
    const pid_t dead = std::exchange(pid, 0);
    boost::system::error_code ignored;
    descriptor.close(ignored);
    on_death(dead);
  }

  asio::posix::stream_descriptor descriptor;
  OnDeath on_death;
  pid_t pid = 0;
  std::uint64_t watch = 0;
};

ProcessWatch::ProcessWatch(asio::any_io_executor executor, OnDeath on_death)
    : impl_(std::make_shared<Impl>(executor, std::move(on_death))) {}

ProcessWatch::~ProcessWatch() { stop(); }

void ProcessWatch::stop() {
  ++impl_->watch;
  impl_->pid = 0;
  boost::system::error_code ignored;
  if (impl_->descriptor.is_open()) impl_->descriptor.close(ignored);
}

bool ProcessWatch::follow(pid_t pid) {
  if (pid == impl_->pid && pid != 0) return true;
  stop();
  if (pid <= 0) return false;
  const std::uint64_t watch = impl_->watch;
  const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0 && errno != ESRCH) return false;
  impl_->pid = pid;
  if (fd < 0) {
    asio::post(impl_->descriptor.get_executor(), [self = impl_, watch] { self->died(watch); });
    return true;
  }
  impl_->descriptor.assign(fd);
  impl_->wait(watch);
  return true;
}

}  // namespace dualdeploy::workload
