#include "core/time.hpp"

#include <array>
#include <charconv>
#include <limits>

namespace dualdeploy {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t milliseconds;
};
/// Longest first: format_duration takes the first that divides.
constexpr std::array<Unit, 5> units{
    {{"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}}};

std::unexpected<Error> not_a_duration(std::string_view text) {
  return fail(ErrorCode::usage,
              "'" + std::string(text) +
                  "' is not a duration; expected a whole number and a unit, such as 500ms, 30s, 5m, "
                  "2h or 1d");
}

}  // namespace

Expected<Milliseconds> parse_duration(std::string_view text) {
  const char* const last = text.data() + text.size();
  std::uint64_t number = 0;  // Unsigned, so that from_chars takes no sign.
  const auto [end, error] = std::from_chars(text.data(), last, number);
  if (error == std::errc::invalid_argument) return not_a_duration(text);
  const std::string_view suffix(end, static_cast<std::size_t>(last - end));
  for (const Unit& unit : units) {
    if (suffix != unit.name) continue;
    const auto longest =
        static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max() / unit.milliseconds);
    if (error == std::errc::result_out_of_range || number > longest) {
      return fail(ErrorCode::usage, "'" + std::string(text) + "' is too long a duration");
    }
    return Milliseconds{static_cast<std::int64_t>(number) * unit.milliseconds};
  }
  return not_a_duration(text);
}

std::string format_duration(Milliseconds duration) {
  if (duration == Milliseconds::zero()) return "0s";
  for (const Unit& unit : units) {
    if (duration.count() % unit.milliseconds != 0) continue;
    return std::to_string(duration.count() / unit.milliseconds).append(unit.name);
  }
  return std::to_string(duration.count()) + "ms";
}

}  // namespace dualdeploy
