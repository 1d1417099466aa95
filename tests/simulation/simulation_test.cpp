// Decisions of years, in worlds made of seeds. One seed again, with everything that happened in it:
//   DUALDEPLOY_SEED=4711 build/dev/tests/simulation_tests --gtest_filter='Simulation.OneSeed'

#include "simulation/simulation.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

namespace dualdeploy::simulation {
namespace {

std::uint64_t from_environment(const char* name, std::uint64_t fallback) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : fallback;
}

void fail_with(const Scenario& scenario, const Outcome& outcome) {
  Scenario small = shrink(scenario);
  small.trace = true;
  const Outcome again = run(small);
  std::string last;
  const std::size_t begin = again.trace.size() > 80 ? again.trace.size() - 80 : 0;
  for (std::size_t i = begin; i < again.trace.size(); ++i) last += again.trace[i] + "\n";
  FAIL() << outcome.violation << "\n  in " << describe(scenario) << "\nshrunk to " << again.violation << "\n  in " << describe(small) << "\n" << last;
}

TEST(Simulation, EveryPromiseIsKept) {
  const std::uint64_t wanted = from_environment("DUALDEPLOY_STEPS", 2'000'000);
  const std::uint64_t first = from_environment("DUALDEPLOY_SEED", 1);
  std::uint64_t steps = 0;
  std::chrono::milliseconds simulated{0};
  std::uint64_t seed = first;
  for (; steps < wanted; ++seed) {
    const Scenario scenario{.seed = seed};
    const Outcome outcome = run(scenario);
    steps += outcome.steps;
    simulated += outcome.simulated;
    if (!outcome.violation.empty()) return fail_with(scenario, outcome);
  }
  std::printf("seeds %llu to %llu: %llu steps, %.1f days, no violation\n", static_cast<unsigned long long>(first),
              static_cast<unsigned long long>(seed - 1), static_cast<unsigned long long>(steps),
              std::chrono::duration<double, std::ratio<86'400>>(simulated).count());
}

TEST(Simulation, OneSeed) {
  const Scenario scenario{.seed = from_environment("DUALDEPLOY_SEED", 1), .trace = true};
  const Outcome outcome = run(scenario);
  if (std::getenv("DUALDEPLOY_SEED") != nullptr) {
    for (const std::string& line : outcome.trace) std::printf("%s\n", line.c_str());
  }
  EXPECT_EQ(outcome.violation, "");
  EXPECT_EQ(run(scenario).trace, outcome.trace) << "the same seed is another run";
}

class BrokenCore : public ::testing::TestWithParam<Mutant> {};

TEST_P(BrokenCore, IsCaught) {
  constexpr std::uint64_t most_seeds = 400;
  for (std::uint64_t seed = 1; seed <= most_seeds; ++seed) {
    const Outcome outcome = run({.seed = seed, .mutant = GetParam()});
    if (outcome.violation.empty()) continue;
    std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), outcome.violation.c_str());
    return;
  }
  FAIL() << "not caught in " << most_seeds << " seeds";
}

std::vector<Mutant> mutants() {
  std::vector<Mutant> all;
  for (int i = 1; i <= mutant_count; ++i) all.push_back(static_cast<Mutant>(i));
  return all;
}
INSTANTIATE_TEST_SUITE_P(Of, BrokenCore, ::testing::ValuesIn(mutants()),
                         [](const auto& given) { return std::string(name_of(given.param)); });

}  // namespace
}  // namespace dualdeploy::simulation
