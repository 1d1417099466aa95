#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/policy.hpp"
#include "core/types.hpp"

/// One service's decisions as data: the state, what can happen to it (Event) and what it wants done (Action).
/// step() in core/step.hpp is the only place where they meet.
namespace dualdeploy {

/// What kind of change or incident a record tells of.
enum class RecordKind : std::uint8_t {
  flip,         ///< An operator changed the route.
  revert,       ///< An operator sent everything back to the RPM.
  auto_revert,  ///< The agent did, because the container failed.
  failover,     ///< The agent sent new connections to the container, because the RPM failed.
  confirm,      ///< A flip was confirmed.
  expire,       ///< A flip was not confirmed in time and went back.
  restore,      ///< The saved route was put back after a boot or a lapse.
  adopt,        ///< The route found in the kernel at the agent's start is the saved one.
  interrupted,  ///< A change of an earlier run never finished; how it ended now.
  hold,
  release,
  rescue,
  drain,     ///< Connections left on a side without new ones: how many, and how they ended.
  drift,     ///< Somebody else changed our kernel rules; they were put back.
  health,    ///< A side became healthy or sick.
  workload,  ///< A side started, ended, vanished.
  restart,   ///< The agent started or restarted a side.
  state,     ///< Trouble with the saved state.
  hook,      ///< A hook failed.
  config,    ///< The configuration was reloaded, or not.
  instance,  ///< Which instance this is, and whether load balancers are told to leave it.
  alarm,     ///< Something an operator has to look at.
};
[[nodiscard]] std::string_view name_of(RecordKind kind);
/// Whether `dualctl history` shows it without being asked for everything.
[[nodiscard]] bool is_change(RecordKind kind);

enum class Result : std::uint8_t { done, failed, refused };
[[nodiscard]] std::string_view name_of(Result result);

/// One line of the history. The daemon adds number, wall-clock time and service.
struct Record {
  RecordKind kind = RecordKind::alarm;
  std::optional<Side> side;
  Actor actor;
  std::optional<Route> from;
  std::optional<Route> to;
  std::string reason;   ///< What the operator said, or what made the agent act.
  std::string message;  ///< What happened, for people.
  Result result = Result::done;
  std::optional<Milliseconds> duration;
  bool operator==(const Record&) const = default;
};

/// A change that was begun and not yet known to be finished; what a restarted agent finds says who began it.
struct Intent {
  RecordKind kind = RecordKind::flip;
  Route from;
  Route to;
  Actor actor;
  std::string reason;
  bool operator==(const Intent&) const = default;
};

/// A flip that goes back by itself unless it is confirmed in time.
struct Confirm {
  Route back_to;
  std::string boot_id;  ///< Of the boot whose clock `deadline` is on. In any other boot it is over.
  Instant deadline;
  Actor actor;
  bool operator==(const Confirm&) const = default;
};

/// What survives a reboot.
struct Durable {
  Route route;  ///< What was last acknowledged. An agent that starts works towards it.
  std::optional<Hold> hold;
  std::optional<Intent> intent;
  std::optional<Confirm> confirm{};  ///< Pending: `route` has to be confirmed.
  bool operator==(const Durable&) const = default;
};

/// What the kernel held for this service when the agent started.
struct KernelRoute {
  enum class Kind : std::uint8_t {
    no_table,  ///< Nothing of ours: a fresh boot, or somebody flushed it.
    none,      ///< Our table, but nothing for this service.
    lapsed,    ///< The service's chain is there, its lease has ended: traffic is on the RPM.
    active,    ///< Traffic follows `route` now.
  };
  Kind kind = Kind::no_table;
  Route route;
  Milliseconds held{0};  ///< For so long yet new connections to its front ports are held: a handover was under way.
  bool operator==(const KernelRoute&) const = default;
};

/// Names a request of the control socket until it is answered. Given by the daemon.
using RequestId = std::uint64_t;
/// Names a step with an answer (apply, save) so that a late answer to a superseded one is recognised.
using Ticket = std::uint64_t;

struct FlipCommand {
  Route to;
  bool force = false;
  /// Wait so long for the target to become healthy rather than be refused. Unset: do not wait.
  std::optional<Milliseconds> wait;
  /// Go back unless confirmed within so long from the moment it takes effect.
  std::optional<Milliseconds> confirm_within{};
};
struct ConfirmCommand {};
struct RevertCommand {};
struct HoldCommand {};
struct ReleaseCommand {};
struct RescueCommand {};
using Command = std::variant<FlipCommand, ConfirmCommand, RevertCommand, HoldCommand, ReleaseCommand, RescueCommand>;

namespace event {
/// The first event. `durable` is empty when there was none or it could not be read (`trouble` says why).
struct Booted {
  std::optional<Durable> durable;
  std::string trouble;
  KernelRoute kernel;
  std::string boot_id{};  ///< Names this boot of the machine (random(4), boot_id).
};
struct Probed {
  Side side = Side::rpm;
  Instant started;
  std::optional<ProbeFailure> failure;
};
struct Reported {
  Side side = Side::rpm;
  Workload workload;
};
/// A start, restart or stop that was asked for has ended.
struct Operated {
  Side side = Side::rpm;
  std::optional<Error> error;
};
struct Requested {
  RequestId request = 0;
  Actor actor;
  std::string reason;
  Command command;
  std::int64_t wall_unix_ms = 0;  ///< Only stored, never compared.
};
struct Applied {
  Ticket ticket = 0;
  std::optional<Error> error;
};
struct Saved {
  Ticket ticket = 0;
  std::optional<Error> error;
};
/// A before-hook has ended; an error refuses the flip.
struct HookEnded {
  Ticket ticket = 0;
  std::optional<Error> error;
};
/// The answer to action::Prove.
struct Proved {
  Ticket ticket = 0;
  std::optional<Error> error;
};
/// The answer to action::HoldFront.
struct FrontHeld {
  Ticket ticket = 0;
  std::optional<Error> error;
};
/// The answer to action::AwaitFree.
struct PortsFree {
  Ticket ticket = 0;
  std::optional<Error> error;
};
struct PolicyChanged {
  ServicePolicy policy;
  /// Whose configuration is another now: its earlier failures say nothing of the new one.
  PerSide<bool> side_changed;
};
/// A wake-up time has come.
struct Woken {};
/// The agent ends as soon as no side is missing: a handover that is under way has to come to an end, and nothing new begins.
struct Stopping {};
}  // namespace event

using Event = std::variant<event::Booted, event::Probed, event::Reported, event::Operated, event::Requested,
                           event::Applied, event::Saved, event::HookEnded, event::Proved, event::FrontHeld,
                           event::PortsFree, event::PolicyChanged, event::Woken, event::Stopping>;

enum class Operation : std::uint8_t { start, restart, stop };
enum class HookPoint : std::uint8_t { before, after };
[[nodiscard]] std::string_view name_of(HookPoint point);

namespace action {
/// Make the kernel follow `route`, by itself no longer than until `until`; answer with Applied.
struct Apply {
  Ticket ticket = 0;
  Route route;
  std::optional<Instant> until;
  bool operator==(const Apply&) const = default;
};
/// Make `durable` survive a power cut; answer with Saved. `record` becomes part of the history if that succeeds.
struct Save {
  Ticket ticket = 0;
  Durable durable;
  std::optional<Record> record;
  bool operator==(const Save&) const = default;
};
/// Start, restart or stop the side; answer with Operated.
struct Operate {
  Side side = Side::rpm;
  Operation operation = Operation::start;
  bool operator==(const Operate&) const = default;
};
struct Answer {
  RequestId request = 0;
  std::optional<Error> error;
  std::string message;
  std::optional<Route> from;
  std::optional<Route> to;
  std::optional<Milliseconds> duration;
  bool operator==(const Answer&) const = default;
};
/// Run the service's hook; a `before` is answered with HookEnded.
struct RunHook {
  Ticket ticket = 0;
  HookPoint point = HookPoint::before;
  RecordKind kind = RecordKind::flip;
  Route from;
  Route to;
  Actor actor;
  std::string reason;
  bool operator==(const RunHook&) const = default;
};
/// Prove `route`; answer with Proved. Before it is applied: that each side listens where clients will be sent. After: that
/// real connections through the front arrive where they should.
struct Prove {
  Ticket ticket = 0;
  HookPoint point = HookPoint::before;
  Route route;
  bool operator==(const Prove&) const = default;
};
/// Drop new connections to the front ports, so that clients try again, for at most `lease`; or let them in again. Answer
/// with FrontHeld.
struct HoldFront {
  Ticket ticket = 0;
  bool hold = false;
  Milliseconds lease{0};
  bool operator==(const HoldFront&) const = default;
};
/// Wait until nobody but `side` listens on the front ports; answer with PortsFree, with an error if it takes too long.
struct AwaitFree {
  Ticket ticket = 0;
  Side side = Side::rpm;
  bool operator==(const AwaitFree&) const = default;
};
/// A line of history that nothing waits for.
struct Note {
  Record record;
  bool operator==(const Note&) const = default;
};
}  // namespace action

using Action = std::variant<action::Apply, action::Save, action::Operate, action::RunHook, action::Prove, action::HoldFront,
                            action::AwaitFree, action::Answer, action::Note>;

struct SideState {
  Workload workload;
  bool reported = false;  ///< The supervisor has spoken at least once.
  Verdict verdict = Verdict::unknown;
  int passed_in_row = 0;
  int failed_in_row = 0;
  Instant verdict_since;
  Instant running_since;  ///< Start of the start period.
  Instant died_at;        ///< Probes begun before this moment say nothing about the present process.
  std::optional<ProbeFailure> last_failure;
  Instant last_failure_at;
  std::optional<Instant> last_probe_at;
  std::string check_trouble;  ///< Why the agent cannot check it at present: the verdict is an old one.
  // Starts by the agent.
  bool operating = false;
  int attempts = 0;  ///< In a row, since it was last healthy for restart_reset.
  int starts = 0;    ///< Ever, in this run of the agent.
  Instant not_before;
  std::string last_operation_error;
};

/// Where a handover stands. The steps are taken in this order; if one fails, all but the first are taken the other way.
struct Handover {
  enum class Step : std::uint8_t { hold, stop, free, start, healthy, release };
  Side to = Side::container;
  Step step = Step::hold;
  bool asked = false;  ///< What the step needs has been asked for.
  bool going_back = false;
  Instant held_at;
  Instant started_at;  ///< The new side, in the step `start`.
  Instant deadline;    ///< Of the step `healthy`.
};
[[nodiscard]] std::string_view name_of(Handover::Step step);

/// A route change under way. At most one a service.
struct Change {
  enum class Phase : std::uint8_t {
    waiting,      ///< For the target to become healthy.
    asking,       ///< The before-hook runs.
    inspecting,   ///< Who listens where is looked at.
    noting,       ///< The intent is being made durable.
    applying,     ///< The kernel transaction runs.
    handing_over, ///< One side stops, the other starts.
    proving,      ///< Real connections try the new route.
    committing,   ///< The new route is being made durable.
    undoing,      ///< The kernel goes back, because something failed.
  };
  RecordKind kind = RecordKind::flip;
  Phase phase = Phase::waiting;
  Route from;
  Route to;
  Actor actor;
  std::string reason;
  std::vector<RequestId> requests;  ///< Waiting for the outcome.
  Durable target;  ///< What becomes durable when it succeeds.
  bool force = false;
  std::string overruled;  ///< Guards that --force went past.
  std::optional<Milliseconds> confirm_within;
  Instant begun;
  Instant wait_until;
  std::optional<Handover> handover;
  std::optional<Milliseconds> gap;   ///< Of a handover: while SYNs were held.
  std::optional<Milliseconds> took;  ///< From the request to the kernel's yes.
  Ticket ticket = 0;
  std::optional<Error> error;  ///< Why it is being undone.
};
[[nodiscard]] std::string_view name_of(Change::Phase phase);
/// Whether it has left a trace outside: before, it can be dropped without a word to disk or kernel.
[[nodiscard]] bool has_begun(const Change& change);

struct ServiceState {
  ServicePolicy policy;
  bool booted = false;
  Instant booted_at;
  std::string boot_id;
  PerSide<SideState> sides;
  Durable durable;  ///< As last made durable, or being made so.
  Route effective;  ///< What the kernel was last told, successfully. With handover: the side that has the port.
  /// With handover, at the start: who has the port is not known before both sides have reported.
  bool holder_unknown = false;
  std::optional<Intent> interrupted;  ///< With handover: to be finished when it is known.
  std::optional<Change> change;
  std::optional<Instant> bake_until;
  // Troubles that retry.
  std::optional<Route> repair_to;  ///< A transaction failed: the kernel may differ from `effective`; bring it here.
  std::optional<Ticket> repair_ticket;
  Instant repair_at;
  std::string kernel_trouble;
  /// Clients are held without a handover under way: they could not be let in at its end, or it did not come to that. The
  /// kernel does it then by itself.
  std::optional<Instant> held_until;
  Instant release_by;  ///< Whom the side that has the port does not serve well waits until then...
  Instant release_at;  ///< ...and not before this moment is it tried (again) to let clients in.
  std::optional<Ticket> release_ticket;
  bool stopping = false;  ///< The agent ends soon.
  bool unsaved = false;  ///< `durable` is not (known to be) on disk yet.
  std::optional<Ticket> save_ticket;
  Instant save_at;
  std::string save_trouble;
  Instant restore_at;  ///< Not before this moment is the saved route tried again.
  Instant failover_at;          ///< Not before this moment is a failover tried (again).
  bool failover_latched = false;  ///< The container failed as well: no failover until an operator acts.
  /// An operator sent everything to the RPM although it was sick: no failover before it was healthy again.
  bool rpm_chosen = false;
  Instant container_used_at;    ///< When the container last had a share of the route, or was to get one.
  bool both_sick_alarm = false;
  Ticket last_ticket = 0;
};

/// What the kernel shall follow now: while a transaction that failed is tried again, what it was to bring.
[[nodiscard]] const Route& wanted_in_kernel(const ServiceState& state);

/// Whether the side's main process is known to be there or not; `unknown` counts as maybe.
[[nodiscard]] bool known_down(const SideState& side);

}  // namespace dualdeploy
