#include "simulation/service_world.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "simulation/promises.hpp"

namespace dualdeploy::simulation {

namespace {

const Error no{ErrorCode::failed, "no"};
const Error too_late{ErrorCode::timed_out, "no answer within the deadline"};

template <class T>
void count(T& counts, std::size_t which) {
  ++counts[which];
}

ServicePolicy drawn_policy(Timeline& time, std::size_t index) {
  ServicePolicy policy;
  policy.name = "shop" + std::to_string(index);
  policy.bake = 10s;
  policy.strategy = time.chance(0.35) ? Strategy::handover : Strategy::redirect;
  policy.handover_deadline = time.between(3s, 20s);
  policy.initial = time.chance(0.1) ? Side::container : Side::rpm;
  policy.before_hook = time.chance(0.3);
  policy.after_hook = time.chance(0.3);
  policy.proof = time.chance(0.9);
  policy.standby = time.chance(0.15) ? Standby::cold : Standby::warm;
  policy.stop_after = 60s;
  policy.rpm_unhealthy = time.chance(0.2) ? RpmUnhealthy::failover : RpmUnhealthy::stay;
  return policy;
}

}  // namespace

ServiceWorld::ServiceWorld(Machine& machine, std::size_t index)
    : machine_(machine), time_(machine.time), index_(index), policy_(drawn_policy(machine.time, index)),
      mutation_(machine.time.scenario().mutant), promises_(std::make_unique<Promises>(*this)) {
  sides_ = std::make_unique<Sides>(time_, policy_, [this](Side side) { report(side); });
  count(time_.counts.strategies, static_cast<std::size_t>(policy_.strategy));
}

ServiceWorld::~ServiceWorld() = default;

// ---- The agent's life --------------------------------------------------------------------------------------------------

void ServiceWorld::boot() {
  state_ = ServiceState{};
  state_.policy = policy_;
  wake_at_.reset();
  const Disk::Loaded loaded = machine_.disk.load(index_);
  half_written_ = loaded.half_written;
  const KernelRoute found = machine_.kernel.seen(index_);
  time_.tell("{}: state {}, kernel {}", policy_.name,
             loaded.unreadable ? "unreadable" : loaded.durable ? dualdeploy::describe(loaded.durable->route) : "none",
             dualdeploy::describe(kernel_route()));
  promises_->agent_starts(loaded.unreadable);
  happen(event::Booted{loaded.durable, loaded.unreadable ? "not JSON" : "", found, machine_.boot_id()});
}

void ServiceWorld::begin() {
  begun_ = true;
  for (const Side side : both_sides) watch(side);
  const std::uint64_t life = time_.life();
  carry_out_all(std::exchange(waiting_, {}));
  if (time_.alive() && life == time_.life()) arm_wake();
}

void ServiceWorld::agent_died() {
  begun_ = false;
  waiting_.clear();
  requests_.clear();
  wake_at_.reset();
}

void ServiceWorld::agent_leaves() { promises_->agent_leaves(); }

ServiceRules ServiceWorld::rules() const {
  const bool redirects = policy_.strategy == Strategy::redirect;
  const Route& wanted = wanted_in_kernel(state_);
  const bool active = redirects && !wanted.all_rpm();
  const std::optional<Confirm>& confirm = state_.durable.confirm;
  return ServiceRules{.planned = !redirects ? Route{} : active ? wanted : state_.durable.route,
                      .active = active,
                      .until = active && confirm ? std::optional(confirm->deadline) : std::nullopt,
                      .held_until = state_.held_until};
}

void ServiceWorld::configure(const ServicePolicy& policy, const PerSide<bool>& side_changed) {
  policy_ = policy;
  if (side_changed[Side::container]) sides_->reconfigure_container();
  promises_->policy_changes();
  for (const Side side : both_sides) {
    if (side_changed[side]) watch(side);
  }
  happen(event::PolicyChanged{policy_, side_changed});
}

void ServiceWorld::request(const Command& command, std::function<void(const action::Answer&)> answered) {
  const RequestId id = ++last_request_;
  requests_[id] = Request{.command = command,
                          .at = time_.now(),
                          .held = saved() && saved()->hold.has_value(),
                          .saved = saved() ? saved()->route : Route{},
                          .intended = state_.durable.route,
                          .effective = state_.effective,
                          .answered = std::move(answered)};
  if (time_.traced()) {
    constexpr std::array<std::string_view, 6> names{"flip to ", "confirm", "revert", "hold", "release", "rescue"};
    const auto* flip = std::get_if<FlipCommand>(&command);
    time_.tell("{}: request {}: {}{}", policy_.name, id, names[command.index()],
               flip != nullptr ? dualdeploy::describe(flip->to) : "");
  }
  promises_->operator_acts();
  happen(event::Requested{id, Actor{1000, 4711, "alice"}, "because", command, time_.wall_ms()});
}

void ServiceWorld::happen(const Event& event) {
  if (!time_.alive()) return;
  const std::optional<Event> told = mutation_.told(event, state_, time_.now(), half_written_);
  if (!told) return;
  time_.count_step();
  time_.mix(static_cast<std::uint64_t>(time_.passed().count()) << 8 | index_ << 4 | event.index());
  count(time_.counts.events, event.index());
  const Route before = state_.effective;
  const std::optional<RecordKind> change_before = state_.change ? std::optional(state_.change->kind) : std::nullopt;
  mutation_.before_step(state_, *told);
  std::vector<Action> actions = step(state_, *told, time_.now());
  mutation_.after_step(state_, actions, time_.now());
  promises_->decided(event, before, change_before);
  count_state();
  if (time_.traced()) tell_state(event);
  if (!begun_) {
    waiting_.insert(waiting_.end(), actions.begin(), actions.end());
    return;
  }
  const std::uint64_t life = time_.life();
  carry_out_all(actions);
  if (!time_.alive() || life != time_.life()) return;
  arm_wake();
  promises_->after_step();
}

void ServiceWorld::reply(Milliseconds delay, const Event& event) {
  time_.later(delay, time_.life(), [this, event] { happen(event); });
  if (!time_.happens(Fault::replies_repeated, 0.02)) return;
  time_.later(delay + time_.between(0ms, 5s), time_.life(), [this, event] { happen(event); });
}

void ServiceWorld::carry_out_all(const std::vector<Action>& actions) {
  const std::uint64_t life = time_.life();
  for (const Action& action : actions) {
    // Killed between any two actions.
    if (time_.happens(Fault::agent_killed, 0.001)) machine_.kill_agent();
    if (!time_.alive() || life != time_.life()) return;
    count(time_.counts.actions, action.index());
    time_.mix(action.index());
    std::visit([this](const auto& what) { carry_out(what); }, action);
  }
}

void ServiceWorld::count_state() {
  if (!state_.change) return;
  count(time_.counts.phases, static_cast<std::size_t>(state_.change->phase));
  if (!state_.change->handover) return;
  count(time_.counts.steps, static_cast<std::size_t>(state_.change->handover->step));
  if (state_.change->handover->going_back) ++time_.counts.handovers_back;
}

void ServiceWorld::tell_state(const Event& event) {
  std::string now = fmt::format("intended {}, effective {}, rpm {}, container {}", dualdeploy::describe(state_.durable.route),
                                dualdeploy::describe(state_.effective), dualdeploy::name_of(state_.sides[Side::rpm].verdict),
                                dualdeploy::name_of(state_.sides[Side::container].verdict));
  if (state_.change) {
    now += fmt::format(", {} {}", dualdeploy::name_of(state_.change->kind), dualdeploy::name_of(state_.change->phase));
    if (state_.change->handover) {
      now += fmt::format(": {}{}", dualdeploy::name_of(state_.change->handover->step),
                         state_.change->handover->going_back ? ", back" : "");
    }
  }
  if (now != last_told_) time_.tell("{}: {} -> {}", policy_.name, name_of(event), now);
  last_told_ = now;
}

void ServiceWorld::arm_wake() {
  const std::optional<Instant> when = next_wake(state_, time_.now());
  if (when == wake_at_) return;
  wake_at_ = when;
  const std::uint64_t armed = ++wake_;
  if (!when) return;
  const Milliseconds delay = std::max(std::chrono::duration_cast<Milliseconds>(*when - time_.now()), 1ms);
  time_.later(delay, time_.life(), [this, armed] {
    if (armed != wake_) return;
    wake_at_.reset();
    happen(event::Woken{});
  });
}

// ---- Both sides --------------------------------------------------------------------------------------------------------

void ServiceWorld::watch(Side side) {
  const std::uint64_t generation = ++generation_[side];
  report(side);
  probe(side, generation);
}

void ServiceWorld::report(Side side) {
  if (!time_.alive() || !begun_) return;
  Workload workload = sides_->workload(side);
  if (machine_.silent(side)) {
    // What is known of it stays; a death is seen by its process, without a supervisor.
    const bool died = last_seen_[side].state == RunState::running && workload.state != RunState::running;
    if (!died) {
      workload = last_seen_[side];
      workload.state = RunState::unknown;
    }
  }
  const Milliseconds delay = time_.happens(Fault::reports_late, 0.2) ? time_.between(1ms, 3s) : time_.between(0ms, 5ms);
  const bool twice = time_.happens(Fault::reports_late, 0.1);
  last_seen_[side] = workload;
  const auto tell = [this, side, workload] { happen(event::Reported{side, workload}); };
  time_.later(delay, time_.life(), tell);
  constexpr Milliseconds again{500};
  if (twice) time_.later(delay + time_.between(0ms, again), time_.life(), tell);
  // Whatever came late or is not known: a supervisor is looked at again, after that.
  if (delay > 5ms || workload.state == RunState::unknown || twice) {
    time_.later(delay + again + time_.between(3s, 6s), time_.life(), [this, side] { report(side); });
  }
}

void ServiceWorld::probe(Side side, std::uint64_t generation) {
  const std::uint64_t life = time_.life();
  const Instant started = time_.now();
  const bool passes = sides_->check_passes(side);
  const Milliseconds takes = time_.happens(Fault::reports_late, 0.02) ? time_.between(50ms, 2s) : time_.between(1ms, 50ms);
  const bool fast = state_.sides[side].verdict != Verdict::healthy;
  const Milliseconds next = std::max(fast ? 250ms : 1000ms, takes);
  time_.later(takes, life, [this, side, generation, started, passes] {
    if (generation != generation_[side]) return;
    happen(event::Probed{side, started, passes ? std::nullopt : std::optional(ProbeFailure{"refused", ""})});
  });
  time_.later(next, life, [this, side, generation] {
    if (generation == generation_[side]) probe(side, generation);
  });
}

void ServiceWorld::carry_out(const action::Operate& operate) {
  const bool up = operate.operation != Operation::stop;
  if (up) promises_->starts(operate.side);
  // Each has a deadline: a supervisor that is silent is an error in the end, and what is late may have been done.
  if (machine_.silent(operate.side)) return reply(time_.between(5s, 25s), event::Operated{operate.side, too_late});
  const bool fails = up && time_.happens(Fault::start_fails, 0.15);
  const bool lost = time_.happens(Fault::replies_lost, 0.01);
  const Milliseconds takes = time_.happens(Fault::start_fails, 0.1) ? time_.between(2s, 10s) : time_.between(20ms, 500ms);
  time_.later(takes, Timeline::world, [this, operate, up, fails] {
    if (fails) return;
    if (operate.operation != Operation::start) sides_->stop(operate.side);
    if (up) sides_->start(operate.side);
    report(operate.side);  // To whoever is there by then.
  });
  const Milliseconds answered = lost ? time_.between(25s, 95s) : takes;
  reply(answered, event::Operated{operate.side, fails ? std::optional(no) : lost ? std::optional(too_late) : std::nullopt});
}

// ---- Kernel ------------------------------------------------------------------------------------------------------------

void ServiceWorld::carry_out(const action::Apply& apply) {
  time_.tell("{}: apply {}{}", policy_.name, dualdeploy::describe(apply.route), apply.until ? " until its deadline" : "");
  promises_->asks_for(apply.route);
  machine_.router.set_route(mutation_.victim(index_, machine_.services), apply.route, apply.until,
                            [this, apply](const std::optional<Error>& error) {
                              time_.tell("{}: applied {}{}", policy_.name, dualdeploy::describe(apply.route),
                                         error ? ", with an error" : "");
                              if (!error) promises_->has_got(apply.route);
                              reply(0ms, event::Applied{apply.ticket, error});
                            });
}

void ServiceWorld::carry_out(const action::HoldFront& hold) {
  time_.tell("{}: {}", policy_.name, hold.hold ? "hold" : "let in");
  // The container is made ready first; a silent engine is waited for.
  Milliseconds prepares = hold.hold ? time_.between(1ms, 50ms) : 0ms;
  if (hold.hold && machine_.silent(Side::container)) prepares = time_.between(5s, 25s);
  time_.later(prepares, time_.life(), [this, hold] {
    if (hold.hold && !awaits(state_, hold.ticket)) return;
    const std::optional<Instant> until = hold.hold ? std::optional(time_.now() + hold.lease) : std::nullopt;
    if (hold.hold) promises_->holds_front();
    if (!hold.hold) promises_->lets_in();
    machine_.router.hold(index_, until, [this, hold](const std::optional<Error>& error) {
      const bool lets_finish = hold.hold && !error;
      reply(lets_finish ? time_.between(0ms, 250ms) : 0ms, event::FrontHeld{hold.ticket, error});
    });
  });
}

void ServiceWorld::carry_out(const action::AwaitFree& await) { await_free(await, time_.now() + 10s); }

void ServiceWorld::await_free(const action::AwaitFree& await, Instant until) {
  const bool free = sides_->front_free() || sides_->front_holder() == await.side;
  if (free || time_.now() >= until) return reply(1ms, event::PortsFree{await.ticket, free ? std::nullopt : std::optional(no)});
  time_.later(100ms, time_.life(), [this, await, until] { await_free(await, until); });
}

// ---- Disk, hooks, proofs, answers --------------------------------------------------------------------------------------

void ServiceWorld::carry_out(const action::Save& save) {
  time_.tell("{}: save {}{}", policy_.name, dualdeploy::describe(save.durable.route), save.durable.intent ? ", as an intent" : "");
  if (mutation_.saves_at_once()) reply(0ms, event::Saved{save.ticket, {}});
  machine_.disk.save(
      index_, save.durable,
      [this, what = save.record] {
        if (what) record(*what);
      },
      [this, ticket = save.ticket](const std::optional<Error>& error) { reply(0ms, event::Saved{ticket, error}); });
  if (time_.happens(Fault::write_torn, 0.002)) time_.later(1ms, Timeline::world, [this] { machine_.cut_power(); });
}

void ServiceWorld::carry_out(const action::RunHook& hook) {
  if (hook.point == HookPoint::after) return;
  const bool refuses = time_.happens(Fault::proof_fails, 0.1);
  reply(time_.between(5ms, 300ms), event::HookEnded{hook.ticket, refuses ? std::optional(no) : std::nullopt});
}

void ServiceWorld::carry_out(const action::Prove& prove) {
  const bool fails = time_.happens(Fault::proof_fails, 0.08);
  if (fails && prove.point == HookPoint::after) promises_->proof_fails(prove.route);
  reply(time_.between(1ms, 100ms), event::Proved{prove.ticket, fails ? std::optional(no) : std::nullopt});
}

void ServiceWorld::carry_out(const action::Answer& answer) {
  const auto found = requests_.find(answer.request);
  if (found == requests_.end()) return time_.violated("an answer that nobody waits for");
  const Request request = std::move(found->second);
  requests_.erase(found);
  time_.tell("{}: answer {}: {}", policy_.name, answer.request, answer.error ? answer.error->message : answer.message);
  count(answer.error ? time_.counts.refused : time_.counts.done, request.command.index());
  promises_->answered(request, answer);
  if (request.answered) request.answered(answer);
}

void ServiceWorld::carry_out(const action::Note& note) { record(note.record); }

void ServiceWorld::record(const Record& what) {
  count(time_.counts.records, static_cast<std::size_t>(what.kind));
  promises_->recorded(what);
}

void ServiceWorld::check_kernel() { promises_->check_kernel(); }
void ServiceWorld::check_end() { promises_->check_end(); }

}  // namespace dualdeploy::simulation
