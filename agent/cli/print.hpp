#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <string>

/// The agent's JSON as text for people. Pure.
namespace dualdeploy::cli {

struct Style {
  bool colour = false;
};

/// All services, or the whole of one (`detailed`).
[[nodiscard]] std::string print_status(const boost::json::object& status, const Style& style);
[[nodiscard]] std::string print_service(const boost::json::object& service, bool detailed, const Style& style);

/// What a change of SERVICE came to, and what a dry run found.
[[nodiscard]] std::string print_change(const std::string& service, const boost::json::object& result);
[[nodiscard]] std::string print_dry_run(const boost::json::object& result, const Style& style);

/// Connections left: "sample: 3 left on rpm (rpm 3, container 120)".
[[nodiscard]] std::string print_drain(const boost::json::object& result);

/// One record of the history as one line.
[[nodiscard]] std::string print_record(const boost::json::object& record, const Style& style);

}  // namespace dualdeploy::cli
