#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/step.hpp"

/// One service's decisions, as they are in the product, in a world made of a seed: supervisors, checks, kernel, disk,
/// operators and time, each with its faults. Years pass in seconds. After every step the promises are checked.
namespace dualdeploy::simulation {

/// What may go wrong; a failing run is shrunk by leaving kinds out.
enum class Fault : std::uint8_t {
  side_dies,       ///< A side's process ends by itself.
  side_sick,       ///< A side fails its checks for a while.
  start_fails,     ///< A start ends with an error, or takes long.
  reports_late,    ///< Supervisors' reports come late, twice, or not in order.
  engine_silent,   ///< A supervisor does not know.
  kernel_fails,    ///< A transaction is refused, or committed and reported as failed, or takes long.
  flushed,         ///< Somebody else flushes the rules.
  disk_fails,      ///< A save fails, or takes long.
  state_unreadable,  ///< What the agent finds at its start cannot be read.
  proof_fails,     ///< A hook says no, somebody else listens, connections arrive elsewhere.
  agent_killed,
  reboot,
};
inline constexpr int fault_count = 12;
[[nodiscard]] std::string_view name_of(Fault fault);
using Faults = std::set<Fault>;
[[nodiscard]] Faults all_faults();

/// Cores that are broken on purpose: each has to be caught.
enum class Mutant : std::uint8_t {
  none,
  ignores_sick_container,   ///< Failed checks of the container are not counted.
  ignores_dead_container,   ///< Nor that it has died.
  answers_before_durable,   ///< Says yes before the disk has.
  forgets_the_deadline,     ///< A flip to be confirmed is applied without its end.
  never_expires,            ///< A flip that is not confirmed stays.
  overrides_holds,          ///< Flips in spite of a hold.
  keeps_failed_proof,       ///< A flip whose proof failed stays.
  restores_after_revert,    ///< After its own revert it flips again.
  never_answers,            ///< A request is left without an answer.
  no_backoff,               ///< Starts a side again and again at once.
  gives_up_repair,          ///< A kernel that refused once is not asked again.
  trusts_unreadable_state,  ///< Unreadable state means the container.
  keeps_confirm_after_boot, ///< An unconfirmed flip is restored after a reboot.
};
inline constexpr int mutant_count = 13;
[[nodiscard]] std::string_view name_of(Mutant mutant);

struct Scenario {
  std::uint64_t seed = 1;
  Faults faults = all_faults();
  Mutant mutant = Mutant::none;
  int operators_acts = 40;    ///< Commands in all; then faults end, and the intended state has to be reached.
  std::uint64_t most_steps = 100'000;
  bool trace = false;
};

struct Outcome {
  std::string violation;  ///< Empty: every promise was kept.
  std::uint64_t steps = 0;
  Milliseconds simulated{0};
  std::vector<std::string> trace;
};

[[nodiscard]] Outcome run(const Scenario& scenario);

/// The same violation with as few kinds of faults and as few commands as can be found.
[[nodiscard]] Scenario shrink(Scenario failing);

/// How to run it again, for people.
[[nodiscard]] std::string describe(const Scenario& scenario);

}  // namespace dualdeploy::simulation
