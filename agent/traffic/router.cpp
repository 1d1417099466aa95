#include "traffic/router.hpp"

#include <spdlog/spdlog.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <algorithm>
#include <exception>

#include "host/clock.hpp"
#include "host/spawn.hpp"
#include "host/turn.hpp"
#include "traffic/flows.hpp"

namespace dualdeploy::traffic {

namespace asio = boost::asio;

namespace {
/// After a check that foreign changes caused, so long no other: a storm of them costs a bounded share of a core.
constexpr Milliseconds check_pause{100};
/// Rules that were just written are read back so much later, where foreign changes are heard of: what follows a change, its
/// proof or another change, comes first.
constexpr Milliseconds read_back_delay{500};
constexpr Milliseconds renewal_retry{1'000};
/// So long before a redirect ends by itself until it is set anew, its absence is nobody's doing. A hold that could not be
/// lifted is not set anew: after its end it is as if it had been lifted.
constexpr Milliseconds deadline_margin{1'000};
}  // namespace

struct Router::Impl : std::enable_shared_from_this<Impl> {
  Impl(asio::any_io_executor executor_in, std::unique_ptr<Backend> backend_in, Settings settings_in, OnDrift drift,
       OnLease lease)
      : executor(executor_in), backend(std::move(backend_in)), settings(settings_in), on_drift(std::move(drift)),
        on_lease(std::move(lease)), turn(executor_in), check_timer(executor_in), renewal_timer(executor_in) {}

  /// Everything of ours, anew.
  asio::awaitable<Expected<void>> write_all() {
    about_to_write();
    auto written = co_await backend->replace(rules);
    doubtful = !written;
    if (doubtful) look_again_later();
    co_return written;
  }

  /// One service's change; everything where that fails (rules flushed a moment ago, stood down) or would not be enough.
  asio::awaitable<Expected<void>> write_change(ServiceRules before, ServiceRules after) {
    about_to_write();
    Expected<void> done = fail("not tried");
    if (established && !doubtful) done = co_await backend->change(before, after, rules.lease);
    if (!done) done = co_await write_all();
    co_return done;
  }

  /// Starts the loops, once.
  void begin() {
    if (std::exchange(begun, true)) return;
    backend->watch({.foreign_change =
                        [weak = weak_from_this()](const std::string& who) {
                          if (const auto self = weak.lock()) self->foreign_change(who);
                        },
                    .leases_shifted =
                        [weak = weak_from_this()] {
                          if (const auto self = weak.lock()) self->renew_at_once();
                        }});
    host::spawn(executor, "drift check", check_loop(shared_from_this()));
    host::spawn(executor, "lease renewal", renewal_loop(shared_from_this()));
  }

  void foreign_change(const std::string& who) {
    if (!noticed_at) noticed_at = host::now();
    suspect = who;
    check_timer.cancel();  // Wakes the check loop.
  }

  void renew_at_once() {
    renewal_due = true;
    renewal_timer.cancel();  // Wakes the renewal loop.
  }

  /// How the rules look then has to be learned anew.
  void about_to_write() {
    ++writes;
    if (std::exchange(fingerprint, std::nullopt)) unread_since = host::now();
    check_timer.cancel();  // Wakes the check loop: the time of the next check is another.
  }

  /// Now is no good time: the next periodic check, from which these rules differ, writes and reads them again.
  void look_again_later() {
    fingerprint = "unread";
    check_timer.cancel();
  }

  [[nodiscard]] Milliseconds until_next_check() const {
    if (fingerprint || !established) return settings.drift_check;
    const Milliseconds at_most = unread_since + settings.drift_check - host::now();
    return std::clamp(at_most, Milliseconds{0}, backend->tells_of_changes() ? read_back_delay : Milliseconds{0});
  }

  static asio::awaitable<void> check_loop(std::shared_ptr<Impl> self) {
    while (!self->stopped) {
      if (!self->noticed_at) {
        boost::system::error_code woken;
        self->check_timer.expires_after(self->until_next_check());
        co_await self->check_timer.async_wait(asio::redirect_error(asio::use_awaitable, woken));
        if (woken && !self->noticed_at) continue;
      }
      if (self->stopped) break;
      co_await self->check();
      boost::system::error_code ignored;
      asio::steady_timer pause(self->executor, check_pause);
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
  }

  /// Reads what the kernel holds, remembers how that looks if it is new, and puts right what somebody else has changed. A
  /// change that comes meanwhile does not wait for the reading, which is worth nothing then.
  asio::awaitable<void> check() {
    const std::uint64_t writes_before = co_await writes_so_far();
    if (!established || stopped || at_a_deadline()) {
      noticed_at.reset();
      co_return;
    }
    if (!noticed_at && fingerprint && nothing_can_have_ended() && backend->same_as_observed()) co_return;
    const bool noticed = noticed_at.has_value();
    const Instant began = noticed_at.value_or(host::now());
    noticed_at.reset();
    auto observed = co_await backend->observe();
    const auto held = co_await turn.take();
    if (writes != writes_before || stopped) {
      if (noticed && !noticed_at) noticed_at = began;
      co_return;
    }
    std::string who = std::exchange(suspect, "");
    if (who.empty()) who = "somebody";
    if (!observed) {
      spdlog::warn("cannot check the kernel rules: {}", observed.error().message);
      if (!fingerprint) look_again_later();
      co_return;
    }
    const bool unchanged = !fingerprint || observed->fingerprint == *fingerprint;
    if (!unchanged || !as_wanted(*observed)) {
      co_await repair(*observed, !unchanged, std::move(who), began);
    } else if (!fingerprint && !noticed && !noticed_at) {
      fingerprint = std::move(observed->fingerprint);
    } else if (!fingerprint) {
      // Somebody was at work since ours were written: once more, before they are taken for right.
      if (auto written = co_await write_all(); !written) {
        spdlog::warn("cannot write the kernel rules: {}", written.error().message);
      }
    }
  }

  /// How many transactions there were, when none is under way.
  asio::awaitable<std::uint64_t> writes_so_far() {
    const auto held = co_await turn.take();
    co_return writes;
  }

  asio::awaitable<void> repair(const Observed& observed, bool changed, std::string who, Instant began) {
    const std::string what = !observed.table_present ? "our table was gone" : changed ? "our rules were changed" : "our leases had ended";
    Drift drift{what, std::move(who), {}, {}};
    auto repaired = co_await write_all();
    drift.took = host::now() - began;
    if (!repaired) drift.error = repaired.error();
    if (repaired) ++repairs;
    on_drift(drift);
    if (!repaired) co_return;
    // At once, for nothing follows here: who has done it may go on, and each of his deeds is to be told apart from our own.
    auto now_there = co_await backend->observe();
    if (now_there && as_wanted(*now_there) && !noticed_at) fingerprint = std::move(now_there->fingerprint);
  }

  /// Leases are renewed, and there is no redirect or hold that is to end by itself.
  [[nodiscard]] bool nothing_can_have_ended() const {
    return !lease_failing && std::ranges::none_of(rules.services, [](const auto& entry) {
      return (entry.second.active && entry.second.until) || entry.second.held_until;
    });
  }

  [[nodiscard]] bool at_a_deadline() const {
    const Instant now = host::now();
    const Instant soon = now + deadline_margin;
    return std::ranges::any_of(rules.services, [now, soon](const auto& entry) {
      const ServiceRules& service = entry.second;
      const bool hold_ends = service.held_until && now - deadline_margin <= *service.held_until && *service.held_until <= soon;
      return (service.active && service.until && *service.until <= soon) || hold_ends;
    });
  }

  [[nodiscard]] bool as_wanted(const Observed& observed) const {
    if (!observed.table_present) return false;
    if (at_a_deadline()) return true;
    for (const auto& [name, service] : rules.services) {
      const auto found = observed.services.find(name);
      const bool has_chain = found != observed.services.end();
      if (has_chain == service.planned.all_rpm()) return false;
      if (!has_chain) continue;
      if (found->second.route != service.planned) return false;
      if ((found->second.kind == KernelRoute::Kind::active) != service.active) return false;
    }
    return true;
  }

  static asio::awaitable<void> renewal_loop(std::shared_ptr<Impl> self) {
    bool& failing = self->lease_failing;
    while (!self->stopped) {
      boost::system::error_code woken;
      self->renewal_timer.expires_after(failing ? renewal_retry : self->rules.lease / 3);
      if (!self->renewal_due) co_await self->renewal_timer.async_wait(asio::redirect_error(asio::use_awaitable, woken));
      if (self->stopped) break;
      if (!std::exchange(self->renewal_due, false) && woken) continue;
      const auto held = co_await self->turn.take();
      if (!self->established || self->stopped) continue;
      auto renewed = co_await self->backend->renew(self->rules);
      if (!renewed) renewed = co_await self->write_all();
      if (!renewed || failing) self->on_lease(renewed ? std::nullopt : std::optional(renewed.error()));
      failing = !renewed;
    }
  }

  asio::any_io_executor executor;
  std::unique_ptr<Backend> backend;
  Settings settings;
  OnDrift on_drift;
  OnLease on_lease;
  host::Turn turn;
  asio::steady_timer check_timer;
  asio::steady_timer renewal_timer;
  Rules rules;
  std::optional<std::string> fingerprint;  ///< How they look in the kernel; unknown since they were last written.
  Instant unread_since;                    ///< Since when it is unknown.
  std::uint64_t writes = 0;                ///< Transactions of ours that may have changed them.
  std::optional<Instant> noticed_at;
  std::string suspect;
  std::uint64_t repairs = 0;
  bool begun = false;
  bool renewal_due = false;
  bool lease_failing = false;
  bool established = false;
  /// A transaction failed: the kernel may hold something else than `rules`, and a change from there would miss it.
  bool doubtful = false;
  bool stopped = false;
};

Router::Router(asio::any_io_executor executor, std::unique_ptr<Backend> backend, Settings settings, OnDrift on_drift,
               OnLease on_lease)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(backend), settings, std::move(on_drift),
                                   std::move(on_lease))) {}

Router::~Router() {
  impl_->stopped = true;
  impl_->check_timer.cancel();
  impl_->renewal_timer.cancel();
}

asio::awaitable<Expected<Observed>> Router::observe() {
  const auto impl = impl_;
  const auto held = co_await impl->turn.take();
  co_return co_await impl->backend->observe();
}

asio::awaitable<Expected<void>> Router::establish(Rules rules) {
  const auto impl = impl_;
  const auto held = co_await impl->turn.take();
  // While this waited for its turn a route may have changed: what was carried out last counts.
  for (auto& [name, service] : rules.services) {
    const auto known = impl->rules.services.find(name);
    if (!impl->established || known == impl->rules.services.end()) continue;
    service.planned = known->second.planned;
    service.active = known->second.active;
    service.until = known->second.until;
    service.held_until = known->second.held_until;
  }
  impl->begin();  // Before it writes: the backend hears then when the kernel has it.
  impl->about_to_write();
  auto written = co_await impl->backend->replace(rules);
  if (!written) co_return written;
  impl->rules = std::move(rules);
  impl->established = true;
  impl->doubtful = false;
  impl->renewal_timer.cancel();  // The lease may be another one now.
  co_return written;
}

asio::awaitable<Expected<void>> Router::set_route(std::string service, Route route, std::optional<Instant> until) {
  const auto impl = impl_;
  const auto held = co_await impl->turn.take();
  const auto found = impl->rules.services.find(service);
  if (found == impl->rules.services.end()) co_return fail("service " + service + " has no rules");
  const ServiceRules before = found->second;
  ServiceRules& wanted = found->second;
  wanted.planned = route;
  wanted.until = until;
  wanted.active = !route.all_rpm();

  auto done = co_await impl->write_change(before, wanted);
  if (!done) {
    // What is wanted stays wanted when it is the way to the RPM: the lease of the old redirect must not be renewed.
    if (!route.all_rpm()) wanted = before;
    co_return done;
  }
  if (auto forgotten = co_await forget_udp_flows(wanted); !forgotten) {
    spdlog::error("{}: UDP clients that go on talking stay on their side: {}", service, forgotten.error().message);
  }
  impl->established = true;
  impl->begin();
  co_return done;
}

asio::awaitable<Expected<void>> Router::hold(std::string service, std::optional<Instant> until) {
  const auto impl = impl_;
  const auto held = co_await impl->turn.take();
  const auto found = impl->rules.services.find(service);
  if (found == impl->rules.services.end()) co_return fail("service " + service + " has no rules");
  if (!until && !found->second.held_until && !impl->doubtful) co_return Expected<void>{};
  const ServiceRules before = found->second;
  found->second.held_until = until;
  auto done = co_await impl->write_change(before, found->second);
  if (!done) {
    found->second = before;
    co_return done;
  }
  impl->established = true;
  impl->begin();
  co_return done;
}

std::string Router::preview(const std::string& service, const Route& route, std::optional<Milliseconds> at_most) const {
  const auto found = impl_->rules.services.find(service);
  if (found == impl_->rules.services.end()) return "";
  ServiceRules after = found->second;
  after.planned = route;
  after.active = !route.all_rpm();
  after.until = at_most ? std::optional(host::now() + *at_most) : std::nullopt;
  return impl_->backend->preview(found->second, after, impl_->rules.lease);
}

asio::awaitable<Expected<void>> Router::stand_down() {
  const auto impl = impl_;
  const auto held = co_await impl->turn.take();
  impl->about_to_write();
  auto removed = co_await impl->backend->remove();
  if (removed) {
    impl->established = false;
    for (auto& [name, service] : impl->rules.services) {
      service.planned = Route{};
      service.active = false;
      service.until.reset();
      service.held_until.reset();
    }
    impl->doubtful = false;
  }
  co_return removed;
}

std::string_view Router::backend_name() const { return impl_->backend->name(); }
std::uint64_t Router::repairs() const { return impl_->repairs; }

}  // namespace dualdeploy::traffic
