// Decisions of years, in worlds made of seeds. One seed again, with everything that happened in it:
//   DUALDEPLOY_SEED=4711 build/dev/tests/simulation_tests --gtest_filter='Simulation.OneSeed'

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "simulation/scenario.hpp"

namespace dualdeploy::simulation {
namespace {

/// Seeds are dealt to the shards in turn.
constexpr int shard_count = 4;
constexpr std::uint64_t default_steps = 10'000'000;

std::uint64_t from_environment(const char* name, std::uint64_t fallback) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : fallback;
}

void print(const std::string& line) {
  std::fputs((line + "\n").c_str(), stdout);
  std::fflush(stdout);
}

void fail_with(const Scenario& scenario, const Outcome& outcome) {
  Scenario small = shrink(scenario);
  small.trace = true;
  const Outcome again = run(small);
  std::string last;
  const std::size_t begin = again.trace.size() > 80 ? again.trace.size() - 80 : 0;
  for (std::size_t i = begin; i < again.trace.size(); ++i) last += again.trace[i] + "\n";
  FAIL() << outcome.violation << "\n  in " << describe(scenario) << "\nshrunk to " << again.violation << "\n  in " << describe(small)
         << "\nagain: DUALDEPLOY_SEED=" << scenario.seed << " simulation_tests --gtest_filter=Simulation.OneSeed\n" << last;
}

class EveryPromise : public ::testing::TestWithParam<int> {};

TEST_P(EveryPromise, IsKept) {
  const std::uint64_t wanted = from_environment("DUALDEPLOY_STEPS", default_steps) / shard_count;
  const std::uint64_t first = from_environment("DUALDEPLOY_SEED", 1) + static_cast<std::uint64_t>(GetParam());
  std::uint64_t steps = 0;
  std::chrono::milliseconds simulated{0};
  Counts counts;
  std::uint64_t seed = first;
  for (; steps < wanted; seed += shard_count) {
    const Scenario scenario{.seed = seed};
    const Outcome outcome = run(scenario);
    steps += outcome.steps;
    simulated += outcome.simulated;
    counts += outcome.counts;
    if (!outcome.violation.empty()) return fail_with(scenario, outcome);
  }
  print(fmt::format("every {}th seed from {} to {}: {} steps, {:.1f} days, no violation", shard_count, first, seed - shard_count, steps,
                    std::chrono::duration<double, std::ratio<86'400>>(simulated).count()));
  for (const std::string& line : describe(counts)) print(line);
  constexpr std::uint64_t enough_to_see_everything = 1'000'000;
  if (steps < enough_to_see_everything) return;
  for (const std::string& kind : never_seen(counts)) ADD_FAILURE() << "never seen: " << kind;
}

INSTANTIATE_TEST_SUITE_P(Shard, EveryPromise, ::testing::Range(0, shard_count));

TEST(Simulation, OneSeed) {
  const Scenario scenario{.seed = from_environment("DUALDEPLOY_SEED", 1), .trace = true};
  const Outcome outcome = run(scenario);
  if (std::getenv("DUALDEPLOY_SEED") != nullptr) {
    for (const std::string& line : outcome.trace) print(line);
  }
  print(fmt::format("seed {}: {} steps, digest {:016x}", scenario.seed, outcome.steps, outcome.digest));
  EXPECT_EQ(outcome.violation, "");
}

/// Everything that is told of a run, in another process: addresses, environment and what ran before are others there.
std::string told_by_another_process(std::uint64_t seed) {
  std::array<char, 4096> program{};
  const ssize_t length = ::readlink("/proc/self/exe", program.data(), program.size() - 1);
  if (length <= 0) return "";
  const std::string command = fmt::format("DUALDEPLOY_SEED={} '{}' --gtest_filter=Simulation.OneSeed --gtest_brief=1", seed,
                                          std::string(program.data(), static_cast<std::size_t>(length)));
  std::FILE* output = ::popen(command.c_str(), "r");
  std::string text;
  std::array<char, 4096> part{};
  while (output != nullptr && std::fgets(part.data(), part.size(), output) != nullptr) text += part.data();
  if (output != nullptr) ::pclose(output);
  return text;
}

TEST(Simulation, ASeedIsTheSameRunByteForByte) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    const Outcome outcome = run({.seed = seed, .trace = true});
    std::string told;
    for (const std::string& line : outcome.trace) told += line + "\n";
    ASSERT_GT(told.size(), 10'000U);
    EXPECT_EQ(run({.seed = seed, .trace = true}).trace, outcome.trace);
    EXPECT_EQ(run({.seed = seed}).digest, outcome.digest) << "to be watched changes the run";
    const std::string other = told_by_another_process(seed);
    EXPECT_NE(other.find(told), std::string::npos) << "another process runs seed " << seed << " differently";
    EXPECT_NE(other.find(fmt::format("digest {:016x}", outcome.digest)), std::string::npos);
    print(fmt::format("seed {}: {} lines, digest {:016x}", seed, outcome.trace.size(), outcome.digest));
  }
}

TEST(Simulation, AFailingSeedIsShrunk) {
  Scenario failing{.seed = 1, .mutant = Mutant::answers_before_durable};
  while (run(failing).violation.empty()) ++failing.seed;
  const Scenario small = shrink(failing);
  EXPECT_FALSE(run(small).violation.empty());
  EXPECT_LT(small.faults.size(), failing.faults.size());
  EXPECT_LT(small.operators_acts, failing.operators_acts);
  print(describe(small));
}

class BrokenCore : public ::testing::TestWithParam<Mutant> {};

TEST_P(BrokenCore, IsCaught) {
  constexpr std::uint64_t most_seeds = 2'000;
  for (std::uint64_t seed = 1; seed <= most_seeds; ++seed) {
    const Outcome outcome = run({.seed = seed, .mutant = GetParam()});
    if (outcome.violation.empty()) continue;
    print(fmt::format("seed {}: {}", seed, outcome.violation));
    EXPECT_EQ(run({.seed = seed}).violation, "") << "the core as it is does so, too";
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
