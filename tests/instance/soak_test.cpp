// Flips without end under load: the agent's memory and descriptors stay as they are.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <sstream>
#include <thread>

#include "instance/support/instance.hpp"
#include "instance/support/load.hpp"

namespace dualdeploy::testing {
namespace {

using std::chrono::steady_clock;

/// What the agent takes at one time.
struct Sample {
  long resident_kib = 0;
  long dirty_kib = 0;  ///< Private_Dirty: its own, which nothing else explains.
  long descriptors = 0;
};

/// Of the same process all the time: one that was started again would hide what it has lost.
class Watched {
 public:
  explicit Watched(const Instance& instance) : instance_(instance), pid_(main_pid()) {}

  [[nodiscard]] Sample sample() const {
    std::istringstream numbers(instance_.do_inside("awk '/^Rss:/ {r = $2} /^Private_Dirty:/ {d = $2} END {print r, d}' /proc/" + pid_ +
                                                   "/smaps_rollup; ls /proc/" + pid_ + "/fd | wc -l"));
    Sample sample;
    numbers >> sample.resident_kib >> sample.dirty_kib >> sample.descriptors;
    return sample;
  }
  [[nodiscard]] bool is_the_same() const { return main_pid() == pid_; }

 private:
  [[nodiscard]] std::string main_pid() const {
    std::string pid = instance_.do_inside("systemctl show -p MainPID --value dualdeployd");
    pid.pop_back();
    return pid;
  }
  const Instance& instance_;
  std::string pid_;
};

/// Of the samples from `begin` to `end`, both in parts of the whole.
long median(const std::vector<Sample>& samples, double begin, double end, long Sample::* of) {
  const auto at = [&](double part) { return static_cast<std::ptrdiff_t>(part * static_cast<double>(samples.size())); };
  std::vector<long> values;
  for (auto sample = samples.begin() + at(begin); sample != samples.begin() + at(end); ++sample) values.push_back((*sample).*of);
  std::ranges::sort(values);
  return values.at(values.size() / 2);
}

void expect_flat(const std::vector<Sample>& samples, long Sample::* of, const std::string& what) {
  const long before = median(samples, 0.25, 0.5, of);
  const long after = median(samples, 0.75, 1, of);
  std::printf("%s: %ld KiB in the second quarter, %ld KiB in the last\n", what.c_str(), before, after);
  EXPECT_LE(after, before + std::max(256L, before * 3 / 100)) << what << " grows";
}

/// As many records as the agent keeps in memory: until there are so many, it grows as it should.
void fill_history(const Instance& instance) {
  instance.do_inside("awk 'BEGIN {for (i = 1; i <= 5000; ++i) printf \"{\\\"id\\\":%d,\\\"at\\\":\\\"2026-01-01T00:00:00.000Z\\\",\\\"service\\\":\\\"sample\\\",\\\"kind\\\":\\\"flip\\\","
                     "\\\"change\\\":true,\\\"actor\\\":{\\\"uid\\\":0,\\\"user\\\":\\\"root\\\",\\\"pid\\\":1},\\\"from\\\":\\\"rpm\\\",\\\"to\\\":\\\"container\\\",\\\"result\\\":\\\"done\\\","
                     "\\\"message\\\":\\\"new connections go to container\\\",\\\"duration_ms\\\":12}\\n\", i}' >/var/lib/dualdeploy/history.jsonl");
}

TEST(Soak, MemoryAndDescriptorsStay) {
  const char* given = std::getenv("DUALDEPLOY_SOAK_MINUTES");
  const auto minutes = std::chrono::minutes(given != nullptr ? std::atoi(given) : 1);
  const Instance instance("soak", Instance::Agent::installed);
  instance.do_inside("mkdir -p /var/lib/dualdeploy");
  fill_history(instance);
  instance.do_inside("systemctl start dualdeployd");
  instance.until_healthy();
  const Watched agent(instance);

  const auto flip_there_and_back = [&] {
    int failed = 0;
    for (const std::string side : {"container", "rpm"}) failed += instance.inside("dualctl flip sample " + side).status == 0 ? 0 : 1;
    return failed;
  };
  for (int i = 0; i < 10; ++i) EXPECT_EQ(flip_there_and_back(), 0);
  const long at_rest = agent.sample().descriptors;

  Load load(instance, Load::Kind::keep_alive, static_cast<int>(std::chrono::seconds(minutes).count()));
  std::vector<Sample> samples;
  int flips = 0;
  int failed = 0;
  auto next_sample = steady_clock::now();
  auto next_reload = steady_clock::now() + std::chrono::seconds(10);
  while (!load.is_over()) {
    failed += flip_there_and_back();
    flips += 2;
    if (steady_clock::now() >= next_sample) {
      samples.push_back(agent.sample());
      next_sample += std::chrono::seconds(2);
    }
    if (steady_clock::now() >= next_reload) {
      instance.do_inside("systemctl reload dualdeployd");
      next_reload += std::chrono::seconds(10);
    }
  }
  const Load::Report report = load.finish();
  EXPECT_EQ(failed, 0) << instance.history();
  EXPECT_EQ(report.errors, "") << report.text;
  EXPECT_TRUE(agent.is_the_same());
  std::printf("%d flips, %ld requests, %zu samples\n", flips, report.requests, samples.size());
  ASSERT_GE(samples.size(), 8U);
  expect_flat(samples, &Sample::resident_kib, "Rss");
  expect_flat(samples, &Sample::dirty_kib, "Private_Dirty");
  instance.until("as many descriptors as before", [&] { return agent.sample().descriptors <= at_rest; });
  std::printf("descriptors: %ld before, %ld after\n", at_rest, agent.sample().descriptors);
}

}  // namespace
}  // namespace dualdeploy::testing
