#include "simulation/counts.hpp"

#include <fmt/format.h>

#include <functional>
#include <string_view>

#include "simulation/scenario.hpp"

namespace dualdeploy::simulation {
namespace {

constexpr std::array<std::string_view, std::variant_size_v<Event>> event_names{
    "booted", "probed", "reported",   "operated",   "requested",      "applied", "saved",
    "hook ended", "proved", "front held", "ports free", "policy changed", "woken", "stopping"};
constexpr std::array<std::string_view, std::variant_size_v<Action>> action_names{
    "apply", "save", "operate", "run hook", "prove", "hold front", "await free", "answer", "note"};
constexpr std::array<std::string_view, std::variant_size_v<Command>> command_names{"flip", "confirm", "revert",
                                                                                   "hold", "release", "rescue"};
constexpr std::array<std::string_view, 2> strategy_names{"redirect", "handover"};

/// These come from the daemon, not from the decisions.
bool made_by_core(RecordKind kind) {
  switch (kind) {
    case RecordKind::drain:
    case RecordKind::hook:
    case RecordKind::config:
    case RecordKind::instance: return false;
    default: return true;
  }
}

using Visit = std::function<void(std::string_view group, std::string_view name, std::uint64_t count, bool due)>;

void visit_all(const Counts& counts, const Visit& visit) {
  const auto by_name = [&](std::string_view group, const auto& values, const auto& names) {
    for (std::size_t i = 0; i < values.size(); ++i) visit(group, names[i], values[i], true);
  };
  by_name("event", counts.events, event_names);
  by_name("action", counts.actions, action_names);
  by_name("command done", counts.done, command_names);
  for (std::size_t i = 0; i < counts.refused.size(); ++i) {
    const bool way_back = command_names[i] == "revert" || command_names[i] == "rescue";  // By an agent that only just starts.
    visit("command refused", command_names[i], counts.refused[i], !way_back);
  }
  by_name("strategy", counts.strategies, strategy_names);
  for (std::size_t i = 0; i < counts.phases.size(); ++i) {
    visit("phase", name_of(static_cast<Change::Phase>(i)), counts.phases[i], true);
  }
  for (std::size_t i = 0; i < counts.steps.size(); ++i) {
    visit("handover", name_of(static_cast<Handover::Step>(i)), counts.steps[i], true);
  }
  visit("handover", "going back", counts.handovers_back, true);
  for (std::size_t i = 0; i < counts.records.size(); ++i) {
    const auto kind = static_cast<RecordKind>(i);
    visit("record", name_of(kind), counts.records[i], made_by_core(kind));
  }
  for (int i = 0; i < fault_count; ++i) {
    visit("fault", name_of(static_cast<Fault>(i)), counts.faults[static_cast<std::size_t>(i)], true);
  }
}

template <class Array>
void add(Array& values, const Array& others) {
  for (std::size_t i = 0; i < values.size(); ++i) values[i] += others[i];
}

}  // namespace

std::string_view name_of(const Event& event) { return event_names[event.index()]; }

Counts& Counts::operator+=(const Counts& other) {
  add(events, other.events);
  add(actions, other.actions);
  add(done, other.done);
  add(refused, other.refused);
  add(phases, other.phases);
  add(steps, other.steps);
  add(records, other.records);
  add(faults, other.faults);
  add(strategies, other.strategies);
  handovers_back += other.handovers_back;
  return *this;
}

std::vector<std::string> describe(const Counts& counts) {
  std::vector<std::string> lines;
  std::string_view last;
  visit_all(counts, [&](std::string_view group, std::string_view name, std::uint64_t count, bool due) {
    if (!due) return;
    if (group != last) lines.push_back(fmt::format("{}:", group));
    last = group;
    lines.back() += fmt::format(" {} {},", name, count);
  });
  for (std::string& line : lines) line.pop_back();
  return lines;
}

std::vector<std::string> never_seen(const Counts& counts) {
  std::vector<std::string> names;
  visit_all(counts, [&](std::string_view group, std::string_view name, std::uint64_t count, bool due) {
    if (due && count == 0) names.push_back(fmt::format("{} {}", group, name));
  });
  return names;
}

}  // namespace dualdeploy::simulation
