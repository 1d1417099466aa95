#include "simulation/simulation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace dualdeploy::simulation {
namespace {

using namespace std::chrono_literals;

constexpr std::array<std::string_view, fault_count> fault_names{
    "side_dies", "side_sick",  "start_fails", "reports_late",     "engine_silent", "kernel_fails",
    "flushed",   "disk_fails", "state_unreadable", "proof_fails", "agent_killed",  "reboot"};
constexpr std::array<std::string_view, mutant_count + 1> mutant_names{
    "none", "ignores_sick_container", "ignores_dead_container", "answers_before_durable", "forgets_the_deadline", "never_expires",
    "overrides_holds", "keeps_failed_proof", "restores_after_revert", "never_answers", "no_backoff", "gives_up_repair",
    "trusts_unreadable_state", "keeps_confirm_after_boot"};

constexpr std::array<std::string_view, std::variant_size_v<Event>> event_names{
    "booted", "probed", "reported", "operated", "requested", "applied", "saved", "hook ended", "proved", "front held", "ports free", "policy", "woken"};

/// A side as it really is.
struct Process {
  bool running = false;
  std::int64_t pid = 0;
  Instant answers_from;  ///< Its checks pass from then on, unless it is sick.
  bool sick = false;
};

struct Request {
  Command command;
  std::uint64_t life = 0;  ///< Of the agent that was asked.
  Instant at;
  std::optional<Hold> held_at_request;
  Durable disk_at_request;
  Route intended_at_request;
  bool answered = false;
};

class World {
 public:
  explicit World(const Scenario& scenario) : scenario_(scenario), random_(scenario.seed) {
    policy_.name = "shop";
    policy_.bake = 10s;
    policy_.before_hook = chance(0.3);
    policy_.standby = chance(0.15) ? Standby::cold : Standby::warm;
    policy_.stop_after = 60s;
    policy_.rpm_unhealthy = chance(0.2) ? RpmUnhealthy::failover : RpmUnhealthy::stay;
    sides_[Side::rpm] = Process{true, 100, now_, false};
  }

  Outcome run() {
    start_agent();
    schedule_environment();
    quiet_from_ = Instant::max();
    while (violation_.empty() && steps_ < scenario_.most_steps && !queue_.empty()) {
      Entry next = std::move(const_cast<Entry&>(queue_.top()));
      queue_.pop();
      if (next.at >= end_) break;
      now_ = std::max(now_, next.at);
      if (next.life == 0 || (alive_ && next.life == life_)) next.what();
    }
    if (violation_.empty() && steps_ < scenario_.most_steps) check_liveness();
    return Outcome{violation_, steps_, std::chrono::duration_cast<Milliseconds>(now_ - begin_), std::move(trace_)};
  }

 private:
  // ---- Chance and time -------------------------------------------------------------------------------------------

  bool chance(double probability) { return std::uniform_real_distribution<>(0, 1)(random_) < probability; }
  Milliseconds between(Milliseconds least, Milliseconds most) {
    return Milliseconds{std::uniform_int_distribution<std::int64_t>(least.count(), most.count())(random_)};
  }
  bool may(Fault fault) const { return !quiet() && scenario_.faults.contains(fault); }
  bool happens(Fault fault, double probability) {
    const bool drawn = chance(probability);  // Drawn in any case: the rest of the run stays the same without the fault.
    return drawn && may(fault);
  }
  bool quiet() const { return now_ >= quiet_from_; }

  struct Entry {
    Instant at;
    std::uint64_t order;
    std::uint64_t life;  ///< Of the agent that it is meant for; 0: the world's own.
    std::function<void()> what;
    bool operator<(const Entry& other) const { return std::tie(other.at, other.order) < std::tie(at, order); }
  };
  void later(Milliseconds delay, std::uint64_t life, std::function<void()> what) {
    queue_.push(Entry{now_ + delay, ++order_, life, std::move(what)});
  }
  template <class... Arguments>
  void tell(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    if (scenario_.trace) {
      trace_.push_back(fmt::format("{:>10} ", (now_ - begin_).count()) + fmt::format(format, std::forward<Arguments>(arguments)...));
    }
  }
  void violated(const std::string& promise) {
    if (violation_.empty()) violation_ = fmt::format("{} (after {} ms, step {})", promise, (now_ - begin_).count(), steps_);
    tell("VIOLATION: {}", promise);
  }

  // ---- The agent -------------------------------------------------------------------------------------------------

  void start_agent() {
    alive_ = true;
    ++life_;
    state_ = ServiceState{};
    state_.policy = policy_;
    bad_since_.reset();
    truly_bad_since_.reset();
    starts_[Side::rpm].clear();
    starts_[Side::container].clear();
    kernel_busy_until_ = disk_busy_until_ = now_;
    const bool unreadable = happens(Fault::state_unreadable, 0.05);
    std::optional<Durable> durable = unreadable ? std::nullopt : disk_;
    if (unreadable) {
      auto_reverted_ = false;
      disk_.reset();  // The file is put aside.
    }
    // A disk that failed and a flush together leave nobody who knows of it.
    auto_reverted_ = auto_reverted_ && disk_ && disk_->route.all_rpm();
    KernelRoute found;
    if (kernel_.table) {
      found.kind = kernel_.route.all_rpm() ? KernelRoute::Kind::none
                   : now_ < kernel_.end   ? KernelRoute::Kind::active
                                          : KernelRoute::Kind::lapsed;
      found.route = kernel_.route;
    }
    tell("agent starts, state {}, kernel {}", unreadable ? "unreadable" : disk_ ? describe(disk_->route) : "none",
         describe(kernel_now()));
    happen(event::Booted{durable, unreadable ? "not JSON" : "", found, boot_id()});
    if (!alive_) return;  // Killed between two of the first actions.
    if (unreadable && !state_.durable.route.all_rpm()) violated("unreadable state did not end at the RPM");
    // The rules as the agent wants them to be at its start: the table, and no redirect that is not in force.
    kernel_.table = true;
    if (state_.effective.all_rpm() && !state_.change) kernel_.route = Route{};
    if (!kernel_.route.all_rpm() && now_ < kernel_.end) kernel_.end = kernel_.until.value_or(Instant::max());
    for (const Side side : both_sides) {
      report(side);
      probe(side);
    }
  }

  void kill_agent() {
    if (!alive_) return;
    tell("agent killed");
    alive_ = false;
    // The lease was renewed at some time of the last 20 s.
    if (!kernel_.route.all_rpm()) kernel_.end = std::min(kernel_.end, now_ + between(40s, 60s));
    later(chance(0.8) ? between(250ms, 2s) : between(2s, 120s), 0, [this] {
      if (!alive_) start_agent();
    });
  }

  std::string boot_id() const { return fmt::format("boot-{}", boots_); }

  void happen(const Event& event) {
    if (!alive_) return;
    const std::optional<Event> mutated = mutate_event(event);
    if (!mutated) return;
    const std::optional<Hold> hold = state_.durable.hold;
    const bool override_hold = scenario_.mutant == Mutant::overrides_holds && std::holds_alternative<event::Requested>(event);
    if (override_hold) state_.durable.hold.reset();
    ++steps_;
    std::vector<Action> actions = step(state_, *mutated, now_);
    if (override_hold && !state_.durable.hold) state_.durable.hold = hold;
    mutate_state(event);
    if (scenario_.trace) {
      const std::string now = fmt::format("intended {}, effective {}, rpm {}, container {}{}", describe(state_.durable.route), describe(state_.effective),
                                          dualdeploy::name_of(state_.sides[Side::rpm].verdict), dualdeploy::name_of(state_.sides[Side::container].verdict),
                                          state_.change ? ", change " + std::string(dualdeploy::name_of(state_.change->phase)) : "");
      if (now != last_told_) tell("{} -> {}", event_names[event.index()], now);
      last_told_ = now;
    }
    const std::uint64_t life = life_;
    for (const Action& action : actions) {
      // Killed between any two actions.
      if (happens(Fault::agent_killed, 0.0005)) kill_agent();
      if (!alive_ || life != life_) return;
      std::visit([this](const auto& what) { carry_out(what); }, action);
    }
    if (!alive_ || life != life_) return;
    arm_wake();
    check_state();
  }

  void arm_wake() {
    const auto when = next_wake(state_, now_);
    const std::uint64_t armed = ++wake_;
    if (!when) return;
    later(std::max(std::chrono::duration_cast<Milliseconds>(*when - now_), 1ms), life_, [this, armed] {
      if (armed == wake_) happen(event::Woken{});
    });
  }

  // ---- Kernel ----------------------------------------------------------------------------------------------------

  struct Kernel {
    bool table = false;
    Route route;
    Instant end = Instant::max();  ///< Of the lease, or of the deadline: then new connections go to the RPM.
    std::optional<Instant> until;
  };
  Route kernel_now() const { return kernel_.table && now_ < kernel_.end ? kernel_.route : Route{}; }

  void carry_out(const action::Apply& apply) {
    const bool refused = happens(Fault::kernel_fails, 0.05);
    const bool misreported = happens(Fault::kernel_fails, 0.01);
    const Milliseconds takes = happens(Fault::kernel_fails, 0.02) ? between(500ms, 5s) : between(1ms, 30ms);
    kernel_busy_until_ = std::max(kernel_busy_until_, now_) + takes;  // One transaction after the other.
    if (refused || misreported) kernel_fault_at_ = kernel_busy_until_;
    tell("apply {}{}{}", describe(apply.route), apply.until ? " until its deadline" : "",
         refused ? ", which will be refused" : misreported ? ", which will be misreported" : "");
    const auto until = scenario_.mutant == Mutant::forgets_the_deadline ? std::nullopt : apply.until;
    const std::uint64_t life = life_;
    later(std::chrono::duration_cast<Milliseconds>(kernel_busy_until_ - now_), 0, [this, apply, refused, misreported, until, life] {
      if (life != life_) return;  // systemd has killed the program that was to commit it, before the next agent.
      if (!refused) {
        kernel_ = Kernel{true, apply.route, until.value_or(Instant::max()), until};
        // The agent that asked is gone: nobody renews.
        if (!alive_) kernel_.end = std::min(kernel_.end, now_ + 60s);
        tell("kernel: {}", describe(apply.route));
      }
      if (!alive_) return;
      happen(event::Applied{apply.ticket, refused || misreported ? std::optional(Error{ErrorCode::failed, "nft: no"}) : std::nullopt});
    });
  }

  /// The router puts back what it had applied last; without an agent nobody does.
  void flush_by_others() {
    tell("rules flushed by others");
    const Kernel before = kernel_;
    kernel_ = Kernel{};
    if (!alive_) return;
    later(between(10ms, 100ms), life_, [this, before] {
      if (!kernel_.table) kernel_ = before;
    });
  }

  // ---- Disk ------------------------------------------------------------------------------------------------------

  void carry_out(const action::Save& save) {
    const bool fails = happens(Fault::disk_fails, 0.04);
    const Milliseconds takes = happens(Fault::disk_fails, 0.03) ? between(500ms, 8s) : between(1ms, 20ms);
    disk_busy_until_ = std::max(disk_busy_until_, now_) + takes;
    tell("save {}{}", describe(save.durable.route), fails ? ", which will fail" : "");
    const std::uint64_t life = life_;
    const bool early = scenario_.mutant == Mutant::answers_before_durable;
    if (early) later(0ms, life, [this, save] { happen(event::Saved{save.ticket, {}}); });
    // Not written when the agent dies before; perhaps written, when it dies meanwhile.
    later(std::chrono::duration_cast<Milliseconds>(disk_busy_until_ - now_), 0, [this, save, fails, life, early] {
      const bool there = alive_ && life == life_;
      if (life != life_) return;  // A dead agent writes nothing that the next could not have read.
      if (!there && chance(0.5)) return;
      if (!fails) {
        disk_ = save.durable;
        if (save.record) record(*save.record);
      }
      if (there && !early) happen(event::Saved{save.ticket, fails ? std::optional(Error{ErrorCode::failed, "disk full"}) : std::nullopt});
    });
  }

  // ---- Sides -----------------------------------------------------------------------------------------------------

  Workload workload_of(Side side) {
    const Process& process = sides_[side];
    Workload workload{.state = process.running ? RunState::running : RunState::stopped, .pid = process.pid};
    workload.revision = "r1";
    workload.artifact = "sha256:1";
    return workload;
  }

  void report(Side side) {
    Workload workload = workload_of(side);
    if (happens(Fault::engine_silent, 0.05)) workload.state = RunState::unknown;
    const Milliseconds delay = happens(Fault::reports_late, 0.2) ? between(1ms, 3s) : between(0ms, 5ms);
    const bool twice = happens(Fault::reports_late, 0.1);
    later(delay, life_, [this, side, workload] { happen(event::Reported{side, workload}); });
    if (twice) later(delay + between(0ms, 500ms), life_, [this, side, workload] { happen(event::Reported{side, workload}); });
    // Whatever got lost or late: a supervisor is looked at again.
    if (delay > 5ms || workload.state == RunState::unknown || twice) {
      later(between(3s, 6s), life_, [this, side] { report(side); });
    }
  }

  bool answers(Side side) const { return sides_[side].running && !sides_[side].sick && now_ >= sides_[side].answers_from; }

  void probe(Side side) {
    const std::uint64_t life = life_;
    const Instant started = now_;
    const bool passes = answers(side);
    later(between(1ms, 50ms), life, [this, side, started, passes] {
      happen(event::Probed{side, started, passes ? std::nullopt : std::optional(ProbeFailure{"refused", ""})});
    });
    const bool fast = state_.sides[side].verdict != Verdict::healthy;
    later(fast ? 250ms : 1s, life, [this, side] { probe(side); });
  }

  void run_side(Side side, bool up) {
    Process& process = sides_[side];
    if (up && !process.running) process = Process{true, ++pids_, now_ + between(0ms, 1500ms), process.sick};
    if (!up) process = Process{false, 0, now_, process.sick};
    tell("{} {}", dualdeploy::name_of(side), up ? "runs" : "is down");
  }

  void carry_out(const action::Operate& operate) {
    const bool up = operate.operation != Operation::stop;
    if (up) count_start(operate.side);
    const bool fails = up && happens(Fault::start_fails, 0.15);
    const Milliseconds takes = happens(Fault::start_fails, 0.1) ? between(2s, 10s) : between(20ms, 500ms);
    const std::uint64_t life = life_;
    later(takes, 0, [this, operate, up, fails, life] {
      if (!fails) {
        if (operate.operation == Operation::restart) run_side(operate.side, false);
        run_side(operate.side, up);
      }
      if (!alive_ || life != life_) return;
      report(operate.side);
      happen(event::Operated{operate.side, fails ? std::optional(Error{ErrorCode::failed, "no"}) : std::nullopt});
    });
  }

  void die(Side side) {
    if (!sides_[side].running) return;
    run_side(side, false);
    if (alive_) report(side);
    // The RPM's unit starts itself again (Restart=always).
    if (side == Side::rpm) {
      later(between(100ms, 2s), 0, [this] {
        if (!sides_[Side::rpm].running) run_side(Side::rpm, true);
        if (alive_) report(Side::rpm);
      });
    }
  }

  // ---- Hooks and proofs ------------------------------------------------------------------------------------------

  void carry_out(const action::RunHook& hook) {
    if (hook.point == HookPoint::after) return;
    const bool no = happens(Fault::proof_fails, 0.1);
    later(between(5ms, 300ms), life_, [this, hook, no] {
      happen(event::HookEnded{hook.ticket, no ? std::optional(Error{ErrorCode::refused, "the hook says no"}) : std::nullopt});
    });
  }
  void carry_out(const action::Prove& prove) {
    const bool no = happens(Fault::proof_fails, 0.08);
    const bool after = prove.point == HookPoint::after;
    if (after && no && state_.change && state_.change->from != prove.route) failed_proof_ = prove.route;
    later(between(1ms, 100ms), life_, [this, prove, no] {
      happen(event::Proved{prove.ticket, no ? std::optional(Error{ErrorCode::failed, "arrived elsewhere"}) : std::nullopt});
    });
  }
  void carry_out(const action::HoldFront& hold) {
    later(between(1ms, 20ms), life_, [this, hold] { happen(event::FrontHeld{hold.ticket, {}}); });
  }
  void carry_out(const action::AwaitFree& await) {
    later(between(1ms, 20ms), life_, [this, await] { happen(event::PortsFree{await.ticket, {}}); });
  }
  void carry_out(const action::Note& note) { record(note.record); }

  // ---- Operators -------------------------------------------------------------------------------------------------

  void act() {
    if (acts_++ >= scenario_.operators_acts) {
      begin_quiet();
      return;
    }
    later(chance(0.3) ? between(1ms, 200ms) : between(1s, 90s), 0, [this] { act(); });
    if (!alive_) return;
    Command command = FlipCommand{};
    const double which = std::uniform_real_distribution<>(0, 1)(random_);
    if (which < 0.62) {
      FlipCommand flip;
      const int percent = std::array{0, 100, 100, 100, 25, 5}[static_cast<std::size_t>(between(0ms, 5ms).count())];
      flip.to = Route::of(percent, chance(0.2));
      flip.force = chance(0.05);
      if (chance(0.5) || policy_.standby == Standby::cold) flip.wait = between(1s, 20s);
      if (chance(0.35)) flip.confirm_within = between(2s, 40s);
      command = flip;
    } else if (which < 0.70) {
      command = ConfirmCommand{};
    } else if (which < 0.80) {
      command = RevertCommand{};
    } else if (which < 0.88) {
      command = HoldCommand{};
    } else if (which < 0.97) {
      command = ReleaseCommand{};
    } else {
      command = RescueCommand{};
    }
    const RequestId id = ++last_request_;
    requests_[id] = Request{command, life_, now_, disk_ ? disk_->hold : std::nullopt, disk_.value_or(Durable{}), state_.durable.route, false};
    tell("request {}: {}", id, command.index() == 0 ? "flip to " + describe(std::get<FlipCommand>(command).to)
                                                     : std::array{"", "confirm", "revert", "hold", "release", "rescue"}[command.index()]);
    if (scenario_.mutant == Mutant::never_answers && id % 5 == 0) return;
    happen(event::Requested{id, Actor{1000, 4711, "alice"}, "because", command, 0});
  }

  void carry_out(const action::Answer& answer) {
    const auto found = requests_.find(answer.request);
    if (found == requests_.end()) return violated("an answer to a request that nobody made");
    Request& request = found->second;
    if (std::exchange(request.answered, true)) return violated("a request was answered twice");
    tell("answer {}: {}", answer.request, answer.error ? answer.error->message : "done");
    const Durable disk = disk_.value_or(Durable{});
    const auto* flip = std::get_if<FlipCommand>(&request.command);
    if (answer.error) {
      const bool became_so = flip != nullptr && disk.route == flip->to && request.disk_at_request.route != flip->to &&
                             request.intended_at_request != flip->to;
      if (became_so) violated("a flip that failed is the durable route: " + describe(disk.route));
      return;
    }
    // What is acknowledged is on disk; a way back stands, saved or not, and then the answer says so.
    if (answer.message.find("WARNING: it ") != std::string::npos) return;
    if (flip != nullptr && disk.route != flip->to) {
      violated("an acknowledged flip to " + describe(flip->to) + " is not durable: " + describe(disk.route));
    }
    if (flip != nullptr && request.held_at_request && disk.hold) violated("a flip went past a hold");
    if (flip != nullptr && flip->confirm_within && !flip->to.all_rpm() && !disk.confirm && flip->to != request.disk_at_request.route) {
      violated("a flip to be confirmed is durable without its deadline");
    }
    if (std::holds_alternative<RevertCommand>(request.command) && !disk.route.all_rpm()) violated("an acknowledged revert is not durable");
    if (std::holds_alternative<HoldCommand>(request.command) && !disk.hold) violated("an acknowledged hold is not durable");
    if (std::holds_alternative<ReleaseCommand>(request.command) && disk.hold) violated("an acknowledged release is not durable");
    if (std::holds_alternative<ConfirmCommand>(request.command) && disk.confirm) violated("an acknowledged confirmation is not durable");
    if (flip != nullptr) auto_reverted_ = false;
  }

  void record(const Record& what) {
    if (what.kind == RecordKind::flip && what.result == Result::done) auto_reverted_ = false;
    if (what.kind == RecordKind::auto_revert && what.result == Result::done) {
      auto_reverted_ = policy_.rpm_unhealthy == RpmUnhealthy::stay;
    }
  }

  // ---- What goes wrong by itself -----------------------------------------------------------------------------------

  void schedule_environment() {
    later(between(5s, 20s), 0, [this] { act(); });
    every(20s, 200s, [this] {
      const Side side = chance(0.65) ? Side::container : Side::rpm;
      if (may(Fault::side_dies)) die(side);
    });
    every(20s, 200s, [this] {
      const Side side = chance(0.65) ? Side::container : Side::rpm;
      const Milliseconds time = between(500ms, 120s);
      if (!may(Fault::side_sick)) return;
      sides_[side].sick = true;
      tell("{} is sick", dualdeploy::name_of(side));
      later(time, 0, [this, side] { sides_[side].sick = false; });
    });
    every(30s, 300s, [this] {
      if (may(Fault::flushed)) flush_by_others();
    });
    every(60s, 600s, [this] {
      if (may(Fault::agent_killed)) kill_agent();
    });
    every(300s, 2000s, [this] {
      if (may(Fault::reboot)) reboot();
    });
  }
  void every(Milliseconds least, Milliseconds most, const std::function<void()>& what) {
    later(between(least, most), 0, [this, least, most, what] {
      what();
      if (!quiet()) every(least, most, what);
    });
  }

  void reboot() {
    tell("reboot");
    kill_agent();
    ++boots_;
    kernel_ = Kernel{};
    sides_[Side::container] = Process{};
    sides_[Side::rpm] = Process{true, ++pids_, now_ + between(0ms, 3s), false};
  }

  // ---- Promises --------------------------------------------------------------------------------------------------

  void count_start(Side side) {
    std::deque<Instant>& starts = starts_[side];
    starts.push_back(now_);
    while (!starts.empty() && now_ - starts.front() > 30s) starts.pop_front();
    constexpr std::size_t most = 12;  // Backoff from 1 s on, and a start for each of some flips.
    if (starts.size() > most) violated(std::string(dualdeploy::name_of(side)) + " was started " + std::to_string(starts.size()) + " times in 30 s");
  }

  /// The kernel's route against what the disk says, whoever is alive.
  void check_deadline() {
    if (!disk_ || !disk_->confirm) return;
    const Confirm& confirm = *disk_->confirm;
    const Route route = kernel_now();
    if (route.all_rpm() || route == confirm.back_to || route != disk_->route) return;
    // A failover of its own may go to the same route, while the disk still has the flip that ended.
    if (alive_ && policy_.rpm_unhealthy == RpmUnhealthy::failover && !state_.durable.confirm) return;
    // Asked for again, with another deadline that the disk does not know yet: the kernel keeps that one.
    if (alive_ && state_.change && kernel_.until && now_ <= *kernel_.until) return;
    constexpr Milliseconds slack = 100ms;
    if (confirm.boot_id != boot_id()) violated("after a reboot the kernel follows an unconfirmed flip: " + describe(route));
    if (confirm.boot_id == boot_id() && now_ > confirm.deadline + slack) violated("an unconfirmed flip outlives its deadline: " + describe(route));
  }

  void check_state() {
    check_deadline();
    // Never on a side known to be sick while the other is known to be healthy: the container's case. (A sick RPM is an
    // operator's decision, or a failover's.)
    const Route route = kernel_now();
    const SideState& container = state_.sides[Side::container];
    const bool hopeless = container.verdict == Verdict::sick || (container.reported && known_down(container));
    const bool bad = route.uses(Side::container) && hopeless && state_.sides[Side::rpm].verdict == Verdict::healthy;
    const bool excused = now_ - kernel_fault_at_ < 15s || state_.kernel_trouble != "";
    if (!bad || excused) bad_since_.reset();
    if (bad && !excused && !bad_since_) bad_since_ = now_;
    if (bad_since_ && now_ - *bad_since_ > 15s) violated("traffic stays on a sick container beside a healthy RPM");
    // What checks have not (been allowed to) tell the core shows in the world itself.
    const bool truly_bad = route.uses(Side::container) && (!sides_[Side::container].running || sides_[Side::container].sick) && answers(Side::rpm);
    if (!truly_bad || excused) truly_bad_since_.reset();
    if (truly_bad && !excused && !truly_bad_since_) truly_bad_since_ = now_;
    if (truly_bad_since_ && now_ - *truly_bad_since_ > 40s) violated("traffic stays on a container that does not answer, beside an RPM that does");
    if (auto_reverted_ && !state_.durable.route.all_rpm() && !state_.change) violated("after its own revert the agent went back to the container by itself");
    if (failed_proof_ && !state_.change && state_.effective == *failed_proof_ && !failed_proof_->all_rpm() && !state_.repair_to) {
      violated("a flip stays although its proof failed");
    }
    // A failover that begins at once, because the RPM is sick, is another matter; so is a route that was acknowledged before
    // and is put back.
    const bool another = state_.change && (state_.change->kind == RecordKind::failover || state_.change->kind == RecordKind::restore);
    if (!state_.change || another) failed_proof_.reset();
  }

  void begin_quiet() {
    tell("faults end");
    quiet_from_ = now_;
    end_ = now_ + 30min;
    for (const Side side : both_sides) {
      sides_[side].sick = false;
    }
    if (!sides_[Side::rpm].running) run_side(Side::rpm, true);
    if (alive_) {
      for (const Side side : both_sides) report(side);
    }
  }

  /// Faults are over for half an hour: everything is where it shall be.
  void check_liveness() {
    now_ = end_;
    if (!alive_) return violated("the agent was not started again");
    for (const auto& [id, request] : requests_) {
      if (!request.answered && request.life == life_) violated(fmt::format("request {} was never answered", id));
    }
    if (state_.change) violated("a change never ends: " + std::string(dualdeploy::name_of(state_.change->phase)));
    if (disk_ && disk_->confirm) violated("an unconfirmed flip was never ended");
    if (disk_ && disk_->route != state_.durable.route) violated("the disk has another route than the agent: " + describe(disk_->route));
    if (state_.unsaved) violated("the state was never saved");
    if (kernel_now() != state_.effective) violated("the kernel has " + describe(kernel_now()) + ", the agent believes " + describe(state_.effective));
    if (state_.effective != state_.durable.route) {
      violated("intended " + describe(state_.durable.route) + " was never reached, it is " + describe(state_.effective) + ": " + why_not_intended(state_));
    }
    const bool container_due = policy_.standby == Standby::warm || state_.effective.uses(Side::container);
    if (state_.sides[Side::rpm].verdict != Verdict::healthy) violated("the RPM is not known to be healthy");
    if (container_due && state_.sides[Side::container].verdict != Verdict::healthy) violated("the container was never brought up");
  }

  // ---- Broken cores ----------------------------------------------------------------------------------------------

  std::optional<Event> mutate_event(const Event& event) {
    const auto* probed = std::get_if<event::Probed>(&event);
    if (scenario_.mutant == Mutant::ignores_sick_container && probed != nullptr && probed->side == Side::container && probed->failure) return std::nullopt;
    const auto* reported = std::get_if<event::Reported>(&event);
    if (scenario_.mutant == Mutant::ignores_dead_container) {
      if (reported != nullptr && reported->side == Side::container && reported->workload.state == RunState::stopped &&
          state_.effective.uses(Side::container)) {
        return std::nullopt;
      }
      if (probed != nullptr && probed->side == Side::container && probed->failure && state_.effective.uses(Side::container)) return std::nullopt;
    }
    const auto* proved = std::get_if<event::Proved>(&event);
    if (scenario_.mutant == Mutant::keeps_failed_proof && proved != nullptr) return event::Proved{proved->ticket, {}};
    const auto* applied = std::get_if<event::Applied>(&event);
    if (scenario_.mutant == Mutant::gives_up_repair && applied != nullptr) return event::Applied{applied->ticket, {}};
    const auto* booted = std::get_if<event::Booted>(&event);
    if (scenario_.mutant == Mutant::trusts_unreadable_state && booted != nullptr && !booted->trouble.empty()) {
      event::Booted trusting = *booted;
      trusting.trouble.clear();
      trusting.durable = Durable{.route = Route::of(100), .hold = {}, .intent = {}};
      return trusting;
    }
    if (scenario_.mutant == Mutant::keeps_confirm_after_boot && booted != nullptr && booted->durable && booted->durable->confirm) {
      event::Booted forgetful = *booted;
      forgetful.durable->confirm->boot_id = boot_id();
      forgetful.durable->confirm->deadline = now_ + 10min;
      return forgetful;
    }
    return event;
  }

  void mutate_state(const Event&) {
    if (scenario_.mutant == Mutant::restores_after_revert && auto_reverted_ && !state_.change && state_.durable.route.all_rpm()) {
      state_.durable.route = Route::of(100);
    }
    if (scenario_.mutant == Mutant::never_expires && state_.durable.confirm) state_.durable.confirm->deadline = now_ + 1h;
    if (scenario_.mutant == Mutant::no_backoff) {
      for (const Side side : both_sides) {
        state_.sides[side].not_before = now_;
        state_.sides[side].attempts = 0;
      }
    }
  }

  const Scenario& scenario_;
  std::mt19937_64 random_;
  ServicePolicy policy_;
  const Instant begin_{1'000'000ms};
  Instant now_ = begin_;
  Instant quiet_from_ = Instant::max();
  Instant end_ = Instant::max();
  std::priority_queue<Entry> queue_;
  std::uint64_t order_ = 0;

  bool alive_ = false;
  std::uint64_t life_ = 0;
  ServiceState state_;
  std::uint64_t wake_ = 0;

  Kernel kernel_;
  Instant kernel_busy_until_;
  Instant kernel_fault_at_ = begin_ - 1h;
  std::optional<Durable> disk_;
  Instant disk_busy_until_;
  PerSide<Process> sides_;
  std::int64_t pids_ = 1000;
  int boots_ = 1;
  PerSide<std::deque<Instant>> starts_;

  int acts_ = 0;
  RequestId last_request_ = 0;
  std::map<RequestId, Request> requests_;

  bool auto_reverted_ = false;
  std::optional<Route> failed_proof_;
  std::optional<Instant> bad_since_;
  std::optional<Instant> truly_bad_since_;
  std::string violation_;
  std::uint64_t steps_ = 0;
  std::string last_told_;
  std::vector<std::string> trace_;
};

}  // namespace

std::string_view name_of(Fault fault) { return fault_names[static_cast<std::size_t>(fault)]; }
std::string_view name_of(Mutant mutant) { return mutant_names[static_cast<std::size_t>(mutant)]; }

Faults all_faults() {
  Faults faults;
  for (int i = 0; i < fault_count; ++i) faults.insert(static_cast<Fault>(i));
  return faults;
}

Outcome run(const Scenario& scenario) { return World(scenario).run(); }

Scenario shrink(Scenario failing) {
  const auto still_fails = [](const Scenario& scenario) { return !run(scenario).violation.empty(); };
  for (int i = 0; i < fault_count; ++i) {
    Scenario fewer = failing;
    fewer.faults.erase(static_cast<Fault>(i));
    if (still_fails(fewer)) failing = fewer;
  }
  for (int acts = 1; acts < failing.operators_acts; ++acts) {
    Scenario shorter = failing;
    shorter.operators_acts = acts;
    if (!still_fails(shorter)) continue;
    failing = shorter;
    break;
  }
  return failing;
}

std::string describe(const Scenario& scenario) {
  std::string faults;
  for (const Fault fault : scenario.faults) faults += (faults.empty() ? "" : ",") + std::string(name_of(fault));
  return fmt::format("seed {}, {} commands, faults {}{}", scenario.seed, scenario.operators_acts, faults.empty() ? "none" : faults,
                     scenario.mutant == Mutant::none ? "" : ", mutant " + std::string(name_of(scenario.mutant)));
}

}  // namespace dualdeploy::simulation
