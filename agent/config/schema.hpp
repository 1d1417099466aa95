#pragma once

#include <vector>

#include "config/config.hpp"
#include "config/reader.hpp"

/// The keys of the files and their limits, a function a section. What is wrong goes to the value's report;
/// the result is of use only if nothing was.
namespace dualdeploy::config {

/// Where one entry of `ports` stands in its file.
struct PortMarks {
  YAML::Mark front;
  YAML::Mark rpm;
  YAML::Mark container;
};

/// A service and the places that a check across files points at.
struct ReadService {
  Service service;
  YAML::Mark name;               ///< Null if the name is the file's.
  std::vector<PortMarks> ports;  ///< As service.ports.
};

[[nodiscard]] Agent read_agent(const Value& root);
[[nodiscard]] ReadService read_service(const Value& root);
/// `check` of a side; `first_port` is what a check without a port of its own uses, if there is one. `foreign_ports` answer for
/// the other side: there a check would say nothing of this one.
[[nodiscard]] Check read_check(Mapping& side, std::optional<std::uint16_t> first_port,
                               const std::vector<std::uint16_t>& foreign_ports);

/// Every port belongs to one entry of one service, and there only the front port and the RPM's may be the
/// same: a redirect needs two different ports. `reports` are the services' own, in the same order.
void check_ports(const std::vector<ReadService>& services, std::vector<Report>& reports);

}  // namespace dualdeploy::config
