#include "health/checker.hpp"

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "host/clock.hpp"
#include "host/spawn.hpp"

namespace dualdeploy::health {

namespace asio = boost::asio;

namespace {
constexpr Milliseconds fast_interval{250};
}

struct Checker::Impl {
  Impl(const asio::any_io_executor& executor, config::Check check_in, std::uint16_t port, ProbeIdentity identity_in,
       OnResult callback, Milliseconds phase_in)
      : check(std::move(check_in)), default_port(port), identity(identity_in), on_result(std::move(callback)), phase(phase_in),
        timer(executor) {}

  static asio::awaitable<void> loop(std::shared_ptr<Impl> self) {
    Instant beat = host::now() - self->phase;
    while (!self->stopped) {
      const Instant started = host::now();
      self->urgent = false;
      auto failure = co_await probe(self->check, self->default_port, self->identity);
      if (self->stopped) break;
      self->on_result(started, std::move(failure));
      beat = co_await self->next_beat(beat);
    }
  }

  /// Waits for the first beat that is still to come, or until somebody asks for a probe at once: that begins a new rhythm.
  asio::awaitable<Instant> next_beat(Instant beat) {
    const Instant ended = host::now();
    while (!stopped && !urgent) {
      const Milliseconds wanted = fast ? std::min(check.interval, fast_interval) : check.interval;
      const Milliseconds interval = std::max(wanted, Milliseconds{1});
      const Instant due = beat + ((ended - beat) / interval + 1) * interval;
      const Milliseconds left = due - host::now();
      if (left <= Milliseconds{0}) co_return due;
      boost::system::error_code woken;
      timer.expires_after(left);
      co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, woken));
    }
    co_return host::now() - phase;
  }

  config::Check check;
  std::uint16_t default_port;
  ProbeIdentity identity;
  OnResult on_result;
  Milliseconds phase;
  asio::steady_timer timer;
  bool fast = true;
  bool urgent = false;
  bool stopped = false;
};

Checker::Checker(asio::any_io_executor executor, config::Check check, std::uint16_t default_port, ProbeIdentity identity,
                 OnResult on_result, Milliseconds phase)
    : impl_(std::make_shared<Impl>(executor, std::move(check), default_port, identity, std::move(on_result), phase)) {
  host::spawn(executor, "health check", Impl::loop(impl_));
}

Checker::~Checker() {
  impl_->stopped = true;
  impl_->timer.cancel();
}

void Checker::check_now() {
  impl_->urgent = true;
  impl_->timer.cancel();
}

void Checker::set_fast(bool fast) {
  if (impl_->fast == fast) return;
  impl_->fast = fast;
  impl_->timer.cancel();  // The loop looks at the time again.
}

}  // namespace dualdeploy::health
