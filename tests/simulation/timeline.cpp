#include "simulation/timeline.hpp"

namespace dualdeploy::simulation {

Timeline::Timeline(const Scenario& scenario) : scenario_(scenario), random_(scenario.seed) {
  for (int i = 0; i < fault_count; ++i) faults_.push_back(scenario.faults.contains(static_cast<Fault>(i)));
}

// The standard leaves open how its distributions draw; a seed shall be the same run with every library.

bool Timeline::chance(double probability) {
  constexpr double unit = 1.0 / static_cast<double>(std::uint64_t{1} << 53);
  return static_cast<double>(random_() >> 11) * unit < probability;
}

Milliseconds Timeline::between(Milliseconds least, Milliseconds most) {
  const auto range = static_cast<std::uint64_t>((most - least).count()) + 1;
  return least + Milliseconds{static_cast<std::int64_t>(random_() % range)};
}

std::size_t Timeline::one_of(std::size_t count) { return static_cast<std::size_t>(random_() % count); }

bool Timeline::happens(Fault fault, double probability) {
  const bool drawn = chance(probability);
  if (!drawn || !may(fault)) return false;
  struck(fault);
  return true;
}

void Timeline::every(Milliseconds least, Milliseconds most, std::function<void()> what) {
  later(between(least, most), world, [this, least, most, what = std::move(what)] {
    what();
    if (!quiet()) every(least, most, what);
  });
}

void Timeline::run(const std::function<void()>& after) {
  while (violation_.empty() && steps_ < scenario_.most_steps && !queue_.empty()) {
    Entry next = std::move(const_cast<Entry&>(queue_.top()));  // Its key is not touched by the move.
    queue_.pop();
    if (next.at >= end_) break;
    now_ = std::max(now_, next.at);
    if (next.life != world && (!alive_ || next.life != life_)) continue;
    next.what();
    after();
  }
  if (ended_well()) now_ = std::max(now_, end_);
}

void Timeline::be_quiet(Milliseconds end_after) {
  tell("faults end");
  quiet_from_ = now_;
  end_ = now_ + end_after;
}

void Timeline::violated(const std::string& promise) {
  if (violation_.empty()) violation_ = fmt::format("{} (after {} ms, step {})", promise, passed().count(), steps_);
  tell("VIOLATION: {}", promise);
}

Outcome Timeline::outcome() {
  mix(steps_);
  mix(static_cast<std::uint64_t>(passed().count()));
  return Outcome{violation_, steps_, digest_, passed(), counts, std::move(trace_)};
}

}  // namespace dualdeploy::simulation
