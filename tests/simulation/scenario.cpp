#include "simulation/scenario.hpp"

#include <fmt/format.h>

#include <array>

#include "simulation/world.hpp"

namespace dualdeploy::simulation {
namespace {

constexpr std::array<std::string_view, fault_count> fault_names{
    "side_dies",       "side_sick",    "crash_loop",   "start_fails",      "port_stays_taken", "reports_late", "engine_silent",
    "engine_restarts", "kernel_fails", "replies_lost", "replies_repeated", "flushed",          "disk_fails",   "write_torn",
    "state_unreadable", "proof_fails", "clock_jumps",  "agent_killed",     "kill_loop",        "reboot"};
constexpr std::array<std::string_view, mutant_count + 1> mutant_names{"none",
                                                                      "ignores_sick_container",
                                                                      "ignores_dead_container",
                                                                      "answers_before_durable",
                                                                      "forgets_the_deadline",
                                                                      "never_expires",
                                                                      "overrides_holds",
                                                                      "keeps_failed_proof",
                                                                      "restores_after_revert",
                                                                      "never_answers",
                                                                      "no_backoff",
                                                                      "gives_up_repair",
                                                                      "trusts_unreadable_state",
                                                                      "keeps_confirm_after_boot",
                                                                      "never_ends_hold",
                                                                      "holds_without_lease",
                                                                      "starts_on_taken_port",
                                                                      "starts_no_old_side",
                                                                      "waits_for_health_forever",
                                                                      "touches_another_service",
                                                                      "accepts_stale_answers",
                                                                      "gates_reverts",
                                                                      "two_changes_at_once",
                                                                      "flaps_by_failover",
                                                                      "forgets_failed_flip",
                                                                      "believes_torn_state",
                                                                      "forgets_who_waits",
                                                                      "lets_in_too_early"};

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
  const auto promise = [](const Scenario& scenario) {
    const std::string violation = run(scenario).violation;
    return violation.substr(0, violation.find(" (after "));
  };
  const auto still_fails = [&, broken = promise(failing)](const Scenario& scenario) { return promise(scenario) == broken; };
  for (std::size_t before = 0; before != failing.faults.size();) {  // What could not be left out at first may be later.
    before = failing.faults.size();
    for (int i = 0; i < fault_count; ++i) {
      Scenario fewer = failing;
      if (fewer.faults.erase(static_cast<Fault>(i)) > 0 && still_fails(fewer)) failing = fewer;
    }
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
