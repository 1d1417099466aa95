#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <queue>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "simulation/scenario.hpp"

namespace dualdeploy::simulation {

using namespace std::chrono_literals;

/// Chance, both clocks, what is still to come, and what is told of it. Everything else is driven by it.
class Timeline {
 public:
  /// What belongs to no life of the agent.
  static constexpr std::uint64_t world = 0;

  explicit Timeline(const Scenario& scenario);

  // ---- Chance ----
  [[nodiscard]] bool chance(double probability);
  [[nodiscard]] Milliseconds between(Milliseconds least, Milliseconds most);
  [[nodiscard]] std::size_t one_of(std::size_t count);
  /// Whether this kind of fault is possible now.
  [[nodiscard]] bool may(Fault fault) const { return !quiet() && faults_[static_cast<std::size_t>(fault)]; }
  /// Whether it strikes. Drawn in any case: the rest of the run stays the same without the fault.
  [[nodiscard]] bool happens(Fault fault, double probability);
  void struck(Fault fault) { ++counts.faults[static_cast<std::size_t>(fault)]; }

  // ---- Time ----
  [[nodiscard]] Instant now() const { return now_; }
  [[nodiscard]] Milliseconds passed() const { return now_ - begin_; }
  [[nodiscard]] std::int64_t wall_ms() const { return now_.time_since_epoch().count() + wall_offset_.count(); }
  void set_wall_clock(Milliseconds by) {
    wall_offset_ += by;
    wall_set_at_ = now_;
  }
  [[nodiscard]] Milliseconds wall_offset() const { return wall_offset_; }
  [[nodiscard]] Instant wall_set_at() const { return wall_set_at_; }
  /// Carried out after `delay`; in a life of the agent, if it still lasts then.
  void later(Milliseconds delay, std::uint64_t life, std::function<void()> what) {
    queue_.push(Entry{now_ + delay, ++order_, life, std::move(what)});
  }
  /// Again and again until faults end.
  void every(Milliseconds least, Milliseconds most, std::function<void()> what);
  /// Until nothing is left, the end, a violation, or too many steps. `after` follows each entry.
  void run(const std::function<void()>& after);
  /// Faults are over; the end comes so much later.
  void be_quiet(Milliseconds end_after);
  [[nodiscard]] bool quiet() const { return now_ >= quiet_from_; }
  /// After run(): faults were over for long enough, and no promise was broken.
  [[nodiscard]] bool ended_well() const { return quiet() && violation_.empty() && steps_ < scenario_.most_steps; }

  // ---- The agent's lives ----
  [[nodiscard]] bool alive() const { return alive_; }
  [[nodiscard]] std::uint64_t life() const { return life_; }
  void begin_life() {
    alive_ = true;
    ++life_;
  }
  void end_life() { alive_ = false; }

  // ---- What is told ----
  template <class... Arguments>
  void tell(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    if (scenario_.trace) {
      trace_.push_back(fmt::format("{:>10} ", passed().count()) + fmt::format(format, std::forward<Arguments>(arguments)...));
    }
  }
  [[nodiscard]] bool traced() const { return scenario_.trace; }
  /// Into the digest of the run.
  void mix(std::uint64_t value) { digest_ = (digest_ ^ value) * 0x100000001b3ULL; }  // FNV-1a
  void violated(const std::string& promise);
  [[nodiscard]] const std::string& violation() const { return violation_; }
  [[nodiscard]] const Scenario& scenario() const { return scenario_; }
  [[nodiscard]] Outcome outcome();
  void count_step() { ++steps_; }

  Counts counts;

 private:
  struct Entry {
    Instant at;
    std::uint64_t order;
    std::uint64_t life;
    std::function<void()> what;
    bool operator<(const Entry& other) const { return std::tie(other.at, other.order) < std::tie(at, order); }
  };

  const Scenario scenario_;
  std::vector<bool> faults_;
  std::mt19937_64 random_;
  const Instant begin_{1'000'000'000ms};
  Instant now_ = begin_;
  Milliseconds wall_offset_{1'700'000'000'000};
  Instant wall_set_at_;
  Instant quiet_from_ = Instant::max();
  Instant end_ = Instant::max();
  std::priority_queue<Entry> queue_;
  std::uint64_t order_ = 0;
  bool alive_ = false;
  std::uint64_t life_ = 0;
  std::uint64_t steps_ = 0;
  std::uint64_t digest_ = 0xcbf29ce484222325ULL;
  std::string violation_;
  std::vector<std::string> trace_;
};

}  // namespace dualdeploy::simulation
