#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/time.hpp"
#include "simulation/counts.hpp"

/// The decisions as they are in the product, in a world made of a seed: several services with both their sides, supervisors,
/// kernel, disk, operators and clocks, each with its faults. Years pass in minutes. After every step the promises are checked.
namespace dualdeploy::simulation {

/// What may go wrong; a failing run is shrunk by leaving kinds out.
enum class Fault : std::uint8_t {
  side_dies,         ///< A side's process ends by itself, or somebody else stops it.
  side_sick,         ///< A side fails its checks for a while.
  crash_loop,        ///< For a while a side dies soon after every start.
  start_fails,       ///< A start ends with an error, or takes long.
  port_stays_taken,  ///< What was stopped leaves somebody behind who has the port for a while.
  reports_late,      ///< Supervisors' reports come late, twice, or not in order; checks take long.
  engine_silent,     ///< A supervisor does not answer for a while, for all services.
  engine_restarts,   ///< The engine restarts, with or without the containers.
  kernel_fails,      ///< A transaction is refused or takes long.
  replies_lost,      ///< What was asked for is done, but its deadline passed first: reported as failed, and late.
  replies_repeated,  ///< An answer comes once more, later.
  flushed,           ///< Somebody else flushes the rules of all services.
  disk_fails,        ///< A save fails (perhaps after it was written), or takes very long.
  write_torn,        ///< A power cut leaves a file that cannot be read.
  state_unreadable,  ///< What the agent finds at its start cannot be read.
  proof_fails,       ///< A hook says no, somebody else listens, connections arrive elsewhere.
  clock_jumps,       ///< The wall clock is set, forward or back.
  agent_killed,      ///< Once, between any two actions.
  kill_loop,         ///< Several times, soon after each other.
  reboot,
};
inline constexpr int fault_count = static_cast<int>(Fault::reboot) + 1;
[[nodiscard]] std::string_view name_of(Fault fault);
using Faults = std::set<Fault>;
[[nodiscard]] Faults all_faults();

/// Cores that are broken on purpose: each has to be caught.
enum class Mutant : std::uint8_t {
  none,
  ignores_sick_container,    ///< Failed checks of the container are not counted.
  ignores_dead_container,    ///< Nor that it has died.
  answers_before_durable,    ///< Says yes before the disk has.
  forgets_the_deadline,      ///< A flip to be confirmed is applied without its end.
  never_expires,             ///< A flip that is not confirmed stays.
  overrides_holds,           ///< Flips in spite of a hold.
  keeps_failed_proof,        ///< A flip whose proof failed stays.
  restores_after_revert,     ///< After its own revert it flips again.
  never_answers,             ///< A request is left without an answer.
  no_backoff,                ///< Starts a side again and again at once.
  gives_up_repair,           ///< A kernel that refused once is not asked again.
  trusts_unreadable_state,   ///< Unreadable state means the container.
  keeps_confirm_after_boot,  ///< An unconfirmed flip is restored after a reboot.
  never_ends_hold,           ///< After a handover nobody is let in again.
  holds_without_lease,       ///< In a handover the kernel holds connections for a day, agent or no agent.
  starts_on_taken_port,      ///< The new side is started while the old one has the port.
  starts_no_old_side,        ///< A handover that fails leaves both sides stopped.
  waits_for_health_forever,  ///< A handover has no deadline.
  touches_another_service,   ///< A flip of one service changes another's route.
  accepts_stale_answers,     ///< Any answer is taken for the one that is waited for.
  gates_reverts,             ///< A revert is refused while there is a hold.
  two_changes_at_once,       ///< A change under way is no reason to refuse another.
  flaps_by_failover,         ///< What failed over and came back fails over again.
  forgets_failed_flip,       ///< A flip that failed is restored as if it had been acknowledged.
  believes_torn_state,       ///< Of a torn file it takes what was being written.
  forgets_who_waits,         ///< An agent that starts lets in whom an earlier one has left waiting.
  lets_in_too_early,         ///< It does so by intent, before anybody serves them.
};
inline constexpr int mutant_count = static_cast<int>(Mutant::lets_in_too_early);
[[nodiscard]] std::string_view name_of(Mutant mutant);

struct Scenario {
  std::uint64_t seed = 1;
  Faults faults = all_faults();
  Mutant mutant = Mutant::none;
  int operators_acts = 120;  ///< Commands in all; then faults end, and the intended state has to be reached.
  std::uint64_t most_steps = 200'000;
  bool trace = false;
};

struct Outcome {
  std::string violation;  ///< Empty: every promise was kept.
  std::uint64_t steps = 0;
  std::uint64_t digest = 0;  ///< Of everything that happened, traced or not.
  Milliseconds simulated{0};
  Counts counts;
  std::vector<std::string> trace;
};

[[nodiscard]] Outcome run(const Scenario& scenario);

/// The same violation with as few kinds of faults and as few commands as can be found.
[[nodiscard]] Scenario shrink(Scenario failing);

/// How to run it again, for people.
[[nodiscard]] std::string describe(const Scenario& scenario);

}  // namespace dualdeploy::simulation
