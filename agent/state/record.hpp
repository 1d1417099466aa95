#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/service.hpp"

namespace dualdeploy::state {

/// A record as it stands in the history.
struct StampedRecord {
  std::uint64_t id = 0;         ///< Rises by one over all services, for ever.
  std::int64_t unix_ms = 0;     ///< Wall clock.
  std::string service;          ///< Empty: the agent itself.
  Record record;
  bool operator==(const StampedRecord&) const = default;
};

/// The form of `dualctl history --json` and of the history file; field names are stable.
[[nodiscard]] boost::json::object to_json(const StampedRecord& record);
[[nodiscard]] boost::json::object to_json(const Actor& actor);

/// A line of the history, as it may have been torn by a power cut: the object, which has a number of ours; nothing if not.
[[nodiscard]] std::optional<boost::json::object> parse_history_line(std::string_view line);
/// The number of a record in that form.
[[nodiscard]] std::uint64_t id_of(const boost::json::object& record);

/// What a service's file says.
struct Saved {
  Durable durable;
  std::optional<boost::json::object> record;  ///< Of the change that the state is the end of.
};
/// Errors name the member that is not as it should be.
[[nodiscard]] Expected<Saved> parse_state(std::string_view text);
[[nodiscard]] std::string print_state(const Durable& durable, const std::optional<StampedRecord>& record = {});

}  // namespace dualdeploy::state
