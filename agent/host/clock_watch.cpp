#include "host/clock_watch.hpp"

#include <sys/timerfd.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <cstdint>
#include <ctime>
#include <limits>

namespace dualdeploy::host {

struct ClockWatch::Impl : std::enable_shared_from_this<Impl> {
  Impl(const boost::asio::any_io_executor& executor, int fd, std::function<void()> callback)
      : timer(executor, fd), on_set(std::move(callback)) {}

  /// A time that never comes: the timer only ends by being cancelled.
  Expected<void> arm() {
    itimerspec never{};
    never.it_value.tv_sec = std::numeric_limits<std::time_t>::max();
    if (::timerfd_settime(timer.native_handle(), TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, nullptr) == 0) return {};
    return fail_errno("cannot watch the wall clock", errno);
  }

  void wait() {
    timer.async_wait(boost::asio::posix::descriptor_base::wait_read,
                     [self = shared_from_this()](const boost::system::error_code& error) {
                       if (error || self->closed) return;
                       std::uint64_t expirations = 0;
                       const ssize_t got = ::read(self->timer.native_handle(), &expirations, sizeof expirations);
                       const bool set = got < 0 && errno == ECANCELED;
                       if (got > 0 || set) (void)self->arm();
                       if (set) self->on_set();
                       if (!self->closed) self->wait();
                     });
  }

  boost::asio::posix::stream_descriptor timer;
  std::function<void()> on_set;
  bool closed = false;
};

ClockWatch::ClockWatch(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

ClockWatch::~ClockWatch() {
  impl_->closed = true;
  boost::system::error_code ignored;
  impl_->timer.close(ignored);
}

Expected<std::unique_ptr<ClockWatch>> ClockWatch::open(boost::asio::any_io_executor executor, std::function<void()> on_set) {
  const int fd = ::timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
  if (fd < 0) return fail_errno("cannot watch the wall clock", errno);
  auto impl = std::make_shared<Impl>(executor, fd, std::move(on_set));
  if (auto armed = impl->arm(); !armed) return std::unexpected(std::move(armed.error()));
  impl->wait();
  return std::unique_ptr<ClockWatch>(new ClockWatch(std::move(impl)));
}

}  // namespace dualdeploy::host
