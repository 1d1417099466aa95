#include "daemon/service_runner.hpp"

#include <algorithm>
#include <boost/asio/experimental/channel.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "core/guards.hpp"
#include "daemon/hooks.hpp"
#include "daemon/transition.hpp"
#include "host/boot.hpp"
#include "host/clock.hpp"
#include "host/crash_point.hpp"
#include "host/logging.hpp"
#include "host/spawn.hpp"
#include "host/wall_clock.hpp"
#include "traffic/proof.hpp"
#include "workload/container_side.hpp"
#include "workload/unit_side.hpp"

namespace dualdeploy::daemon {

namespace asio = boost::asio;

namespace {

/// New connections are held: requests under way get a moment to end before their side is stopped.
asio::awaitable<void> let_finish(std::vector<config::Port> ports, std::uint32_t probe_mark) {
  constexpr Milliseconds patience{250};
  constexpr Milliseconds pause{10};
  const Instant begun = host::now();
  while (host::now() - begun < patience) {
    const auto open = co_await count_connections(ports, probe_mark);
    if (!open || (*open)[Side::rpm] == 0) co_return;
    boost::system::error_code ignored;
    asio::steady_timer timer(co_await asio::this_coro::executor, pause);
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

/// A side's own place in the interval, by its port: neighbours are far apart (multiples of the golden ratio). A thousand
/// checks that go on as they have begun, together, would keep a flip waiting.
Milliseconds place_in(Milliseconds interval, std::uint16_t port) {
  constexpr std::int64_t whole = 65'536;
  constexpr std::int64_t golden = 40'503;
  return interval * (port * golden % whole) / whole;
}

}  // namespace

/// A request that waits for its answer.
class ServiceRunner::Pending {
 public:
  explicit Pending(const asio::any_io_executor& executor) : channel(executor, 1) {}
  asio::experimental::channel<void(boost::system::error_code, action::Answer)> channel;
};

ServiceRunner::ServiceRunner(std::shared_ptr<const Surroundings> surroundings, config::Service service)
    : surroundings_(std::move(surroundings)), service_(std::move(service)),
      drain_(std::make_shared<Drain>(surroundings_->executor, surroundings_->identity.mark,
                                     [this](Record record) { this->record(record); })),
      wake_(surroundings_->executor) {
  state_.policy = service_.policy;
}

ServiceRunner::~ServiceRunner() { drain_->stop(); }

void ServiceRunner::boot(const state::Store::Loaded& saved, const KernelRoute& kernel) {
  drained_from_ = kernel.kind == KernelRoute::Kind::active ? kernel.route : Route{};
  happen(event::Booted{saved.durable, saved.trouble, kernel, host::boot_id()});
}

void ServiceRunner::begin() {
  begun_ = true;
  watch_sides();
  drain();
}

void ServiceRunner::end() {
  ended_ = true;
  wake_.cancel();
  drain_->stop();
  for (const Side side : both_sides) {
    ++generation_[side];
    checkers_[side].reset();
    sides_[side].reset();
  }
  for (auto& [id, pending] : std::exchange(pending_, {})) {
    pending->channel.try_send(boost::system::error_code{},
                              action::Answer{id, Error{ErrorCode::failed, "the service left the configuration"}, "", {}, {}, {}});
  }
}

void ServiceRunner::configure(config::Service service) {
  const config::Service before = std::exchange(service_, std::move(service));
  const bool ports_changed = before.ports != service_.ports;
  event::PolicyChanged changed{service_.policy, {}};
  changed.side_changed[Side::rpm] = ports_changed || before.rpm != service_.rpm;
  changed.side_changed[Side::container] = ports_changed || before.container != service_.container;
  for (const Side side : both_sides) {
    if (changed.side_changed[side]) watch_side(side);
  }
  happen(std::move(changed));
}

asio::awaitable<action::Answer> ServiceRunner::request(Command command, Actor actor, std::string reason) {
  const auto self = shared_from_this();
  const auto pending = std::make_shared<Pending>(surroundings_->executor);
  const RequestId id = ++last_request_;
  pending_[id] = pending;
  happen(event::Requested{id, std::move(actor), std::move(reason), command, host::wall_unix_ms()});
  co_return co_await pending->channel.async_receive(asio::use_awaitable);
}

asio::awaitable<void> ServiceRunner::refresh() {
  for (const Side side : both_sides) {
    const auto workload = sides_[side];
    if (workload) co_await workload->refresh();
  }
}

asio::awaitable<Expected<void>> ServiceRunner::stop_container() {
  const auto container = sides_[Side::container];
  if (!container) co_return Expected<void>{};
  co_return co_await container->stop();
}

traffic::ServiceRules ServiceRunner::rules() const {
  const bool redirects = service_.policy.strategy == Strategy::redirect;
  const Route& wanted = wanted_in_kernel(state_);
  const bool active = redirects && !wanted.all_rpm();
  const std::optional<Confirm>& confirm = state_.durable.confirm;
  return traffic::ServiceRules{.name = service_.policy.name,
                               .ports = service_.ports,
                               .local_traffic = service_.local_traffic,
                               .guard = service_.guard && redirects,
                               .planned = !redirects ? Route{} : active ? wanted : state_.durable.route,
                               .active = active,
                               .until = active && confirm ? std::optional(confirm->deadline) : std::nullopt,
                               .held_until = state_.held_until};
}

/// Events that come while actions are carried out wait for their turn: step() is never entered twice.
void ServiceRunner::happen(Event event) {
  if (ended_) return;
  events_.push_back(std::move(event));
  drain();
}

void ServiceRunner::drain() {
  if (std::exchange(draining_, true)) return;
  bool stepped = false;
  while (!events_.empty() || (begun_ && !actions_.empty())) {
    if (begun_ && !actions_.empty()) {
      const Action action = std::move(actions_.front());
      actions_.pop_front();
      host::crash_point(std::visit(Transition{}, action));
      std::visit([this](const auto& what) { carry_out(what); }, action);
      continue;
    }
    const Event event = std::move(events_.front());
    events_.pop_front();
    host::crash_point(std::visit(Transition{}, event));
    for (Action& action : step(state_, event, host::now())) actions_.push_back(std::move(action));
    stepped = true;
  }
  draining_ = false;
  if (!stepped || !begun_) return;
  arm_wake();
  follow_drain();
  for (const Side side : both_sides) {
    const bool to_recover = state_.sides[side].verdict != Verdict::healthy && wanted_up(state_, side);
    if (checkers_[side]) checkers_[side]->set_fast(to_recover);
  }
  surroundings_->on_change();
}

void ServiceRunner::arm_wake() {
  wake_.cancel();
  const Instant now = host::now();
  const auto when = next_wake(state_, now);
  if (!when) return;
  // At least a millisecond: a wake-up that changes nothing must not spin.
  wake_.expires_after(std::max(*when - now, Milliseconds{1}));
  wake_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    const auto self = weak.lock();
    if (!error && self) self->happen(event::Woken{});
  });
}

/// A side that has lost its share of the route drains; one that has it back does not. A change under way may still go back.
void ServiceRunner::follow_drain() {
  if (state_.change && has_begun(*state_.change)) return;
  const Route before = std::exchange(drained_from_, state_.effective);
  if (service_.policy.strategy == Strategy::handover) return;  // Connections end with the side that held them.
  for (const Side side : both_sides) {
    const bool lost = before.uses(side) && !state_.effective.uses(side);
    if (lost) drain_->start(side, service_.ports, service_.drain);
    const bool back = drain_->progress() && drain_->progress()->side == side && state_.effective.uses(side);
    if (back) drain_->stop();
  }
}

asio::awaitable<Expected<PerSide<std::size_t>>> ServiceRunner::connections() const {
  return count_connections(service_.ports, surroundings_->identity.mark);
}

void ServiceRunner::watch_sides() {
  for (const Side side : both_sides) watch_side(side);
}

void ServiceRunner::watch_side(Side side) {
  checkers_[side].reset();
  sides_[side].reset();
  const std::uint64_t generation = ++generation_[side];
  const auto report = [weak = weak_from_this(), side, generation](const Workload& workload) {
    const auto self = weak.lock();
    if (!self || self->generation_[side] != generation) return;
    const bool now_up = workload.state == RunState::running &&
                        self->state_.sides[side].workload.state != RunState::running;
    self->happen(event::Reported{side, workload});
    if (now_up && self->checkers_[side]) self->checkers_[side]->check_now();
  };
  const auto& executor = surroundings_->executor;
  if (side == Side::rpm) {
    sides_[side] = std::make_shared<workload::UnitSide>(executor, surroundings_->systemd, service_.rpm, report);
  } else {
    sides_[side] = std::make_shared<workload::ContainerSide>(executor, surroundings_->engine, service_.policy.name,
                                                             service_.container, report);
  }
  const auto tcp = std::ranges::find(service_.ports, config::Protocol::tcp, &config::Port::protocol);
  const config::Port& first = tcp == service_.ports.end() ? service_.ports.front() : *tcp;
  const config::Check& check = side == Side::rpm ? service_.rpm.check : service_.container.check;
  const std::uint16_t port = side == Side::rpm ? first.rpm : first.container;
  checkers_[side] = std::make_unique<health::Checker>(
      executor, check, port, surroundings_->identity,
      [weak = weak_from_this(), side, generation](Instant started, std::optional<ProbeFailure> failure) {
        const auto self = weak.lock();
        if (self && self->generation_[side] == generation) {
          self->happen(event::Probed{side, started, std::move(failure)});
        }
      },
      place_in(check.interval, port));
  sides_[side]->watch();
}

void ServiceRunner::carry_out(const action::Apply& wanted) {
  host::spawn(surroundings_->executor, "route change", apply(shared_from_this(), wanted));
}

asio::awaitable<void> ServiceRunner::apply(std::shared_ptr<ServiceRunner> self, action::Apply wanted) {
  auto applied = co_await self->surroundings_->router.set_route(self->service_.policy.name, wanted.route, wanted.until);
  self->happen(event::Applied{wanted.ticket, applied ? std::nullopt : std::optional(applied.error())});
}

void ServiceRunner::carry_out(const action::Save& save) {
  surroundings_->store.save(
      service_.policy.name, save.durable, save.record,
      [self = shared_from_this(), ticket = save.ticket](std::optional<Error> error, const std::optional<state::StampedRecord>& record) {
        if (record) self->surroundings_->on_record(*record);
        self->happen(event::Saved{ticket, std::move(error)});
      });
}

void ServiceRunner::carry_out(const action::Operate& wanted) {
  host::spawn(surroundings_->executor, "starting a side", operate(shared_from_this(), wanted));
}

asio::awaitable<void> ServiceRunner::operate(std::shared_ptr<ServiceRunner> self, action::Operate wanted) {
  const auto side = self->sides_[wanted.side];
  Expected<void> done = fail("the service left the configuration");
  if (side) {
    switch (wanted.operation) {
      case Operation::start: done = co_await side->start(); break;
      case Operation::restart: done = co_await side->restart(); break;
      case Operation::stop: done = co_await side->stop(); break;
    }
  }
  self->happen(event::Operated{wanted.side, done ? std::nullopt : std::optional(done.error())});
}

void ServiceRunner::carry_out(const action::RunHook& wanted) {
  host::spawn(surroundings_->executor, "hook", hook(shared_from_this(), wanted));
}

asio::awaitable<void> ServiceRunner::hook(std::shared_ptr<ServiceRunner> self, action::RunHook wanted) {
  std::string service = self->service_.policy.name;
  config::Hooks hooks = self->service_.hooks;
  const auto run = co_await run_hook(std::move(service), std::move(hooks), wanted);
  if (wanted.point == HookPoint::before) {
    self->happen(event::HookEnded{wanted.ticket, run ? std::nullopt : std::optional(run.error())});
  } else if (!run) {
    self->record({.kind = RecordKind::hook, .message = "after-hook: " + run.error().message, .result = Result::failed});
  }
}

void ServiceRunner::carry_out(const action::Prove& wanted) {
  host::spawn(surroundings_->executor, "proof of a flip", prove(shared_from_this(), wanted));
}

asio::awaitable<void> ServiceRunner::prove(std::shared_ptr<ServiceRunner> self, action::Prove wanted) {
  traffic::ProofOf what;
  what.ports = self->service_.ports;
  what.local_traffic = self->service_.local_traffic;
  what.route = wanted.route;
  for (const Side side : both_sides) what.pids[side] = self->state_.sides[side].workload.pid;
  Expected<void> proved;
  if (wanted.point == HookPoint::before) {
    proved = traffic::inspect(what);
  } else {
    proved = co_await traffic::prove(std::move(what));
  }
  self->happen(event::Proved{wanted.ticket, proved ? std::nullopt : std::optional(proved.error())});
}

void ServiceRunner::carry_out(const action::HoldFront& wanted) {
  host::spawn(surroundings_->executor, "holding the front", hold_front(shared_from_this(), wanted));
}

asio::awaitable<void> ServiceRunner::hold_front(std::shared_ptr<ServiceRunner> self, action::HoldFront wanted) {
  if (const auto container = self->sides_[Side::container]; wanted.hold && container) {
    // Created beforehand. What is wrong here is said by the start, which asks for the same.
    (void)co_await container->prepare();
    // An engine that hangs takes its time. Superseded meanwhile, a hold would have nobody to end it.
    if (self->ended_ || !awaits(self->state_, wanted.ticket)) co_return;
  }
  std::string service = self->service_.policy.name;
  const std::optional<Instant> until = wanted.hold ? std::optional(host::now() + wanted.lease) : std::nullopt;
  const auto held = co_await self->surroundings_->router.hold(std::move(service), until);
  if (wanted.hold && held) co_await let_finish(self->service_.ports, self->surroundings_->identity.mark);
  self->happen(event::FrontHeld{wanted.ticket, held ? std::nullopt : std::optional(held.error())});
}

void ServiceRunner::carry_out(const action::AwaitFree& wanted) {
  host::spawn(surroundings_->executor, "waiting for the front ports", await_free(shared_from_this(), wanted));
}

/// The kernel has no event for "nobody listens any more".
asio::awaitable<void> ServiceRunner::await_free(std::shared_ptr<ServiceRunner> self, action::AwaitFree wanted) {
  constexpr Milliseconds patience{10'000};
  constexpr Milliseconds pause{10};
  const Instant begun = host::now();
  Expected<void> free;
  for (;;) {
    free = traffic::all_free(self->service_.ports, static_cast<pid_t>(self->state_.sides[wanted.side].workload.pid));
    if (free || host::now() - begun >= patience) break;
    boost::system::error_code ignored;
    asio::steady_timer timer(self->surroundings_->executor, pause);
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  self->happen(event::PortsFree{wanted.ticket, free ? std::nullopt : std::optional(free.error())});
}

void ServiceRunner::carry_out(const action::Answer& answer) {
  const auto found = pending_.find(answer.request);
  if (found == pending_.end()) return;
  found->second->channel.try_send(boost::system::error_code{}, answer);
  pending_.erase(found);
}

void ServiceRunner::carry_out(const action::Note& note) { record(note.record); }

void ServiceRunner::record(const Record& what) {
  surroundings_->on_record(surroundings_->store.append(service_.policy.name, what));
}

}  // namespace dualdeploy::daemon
