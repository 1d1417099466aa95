#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "core/service.hpp"

namespace dualdeploy::simulation {

/// How often each kind of thing was seen: a simulation promises nothing about what never happens in it.
struct Counts {
  std::array<std::uint64_t, std::variant_size_v<Event>> events{};
  std::array<std::uint64_t, std::variant_size_v<Action>> actions{};
  std::array<std::uint64_t, std::variant_size_v<Command>> done{};     ///< Commands that succeeded.
  std::array<std::uint64_t, std::variant_size_v<Command>> refused{};  ///< Commands that did not.
  std::array<std::uint64_t, 9> phases{};                              ///< Change::Phase
  std::array<std::uint64_t, 6> steps{};                               ///< Handover::Step
  std::array<std::uint64_t, 22> records{};                            ///< RecordKind
  std::array<std::uint64_t, 32> faults{};                             ///< That struck.
  std::array<std::uint64_t, 2> strategies{};                          ///< Services that began with it.
  std::uint64_t handovers_back = 0;                                   ///< That failed and went back.

  Counts& operator+=(const Counts& other);
};

[[nodiscard]] std::string_view name_of(const Event& event);

/// One line for each kind of thing and how often it was seen.
[[nodiscard]] std::vector<std::string> describe(const Counts& counts);
/// What should have been seen and was not.
[[nodiscard]] std::vector<std::string> never_seen(const Counts& counts);

}  // namespace dualdeploy::simulation
