#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>

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

/// The form of the saved state.
[[nodiscard]] boost::json::object to_json(const Durable& durable);
/// Errors name the member that is not as it should be.
[[nodiscard]] Expected<Durable> durable_from_json(const boost::json::value& value);

}  // namespace dualdeploy::state
