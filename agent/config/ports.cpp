#include <map>
#include <utility>

#include "config/schema.hpp"

namespace dualdeploy::config {
namespace {

/// Who uses a port.
struct Claim {
  std::size_t service;
  std::size_t entry;
  std::string_view role;
};

class Claims {
 public:
  Claims(const std::vector<ReadService>& services, std::vector<Report>& reports)
      : services_(services), reports_(reports) {}

  void add(Protocol protocol, std::uint16_t port, const Claim& claim, const YAML::Mark& mark) {
    if (port == 0) return;  // Bad, and reported as such.
    const auto [position, is_new] = first_.try_emplace({protocol, port}, claim);
    if (is_new) return;
    const Claim& first = position->second;
    const bool is_same = first.service == claim.service;
    reports_[claim.service].at(
        mark, "ports[" + std::to_string(claim.entry) + "]." + std::string(claim.role) + ": port " +
                  std::to_string(port) + " is already the " + std::string(first.role) + " port of " +
                  (is_same ? "ports[" + std::to_string(first.entry) + "]" : owner(first)) +
                  "; expected a port that nothing else uses");
  }

 private:
  [[nodiscard]] std::string owner(const Claim& claim) const {
    return "the service in " + services_[claim.service].service.file.string();
  }

  const std::vector<ReadService>& services_;
  std::vector<Report>& reports_;
  std::map<std::pair<Protocol, std::uint16_t>, Claim> first_;
};

}  // namespace

void check_ports(const std::vector<ReadService>& services, std::vector<Report>& reports) {
  Claims claims(services, reports);
  for (std::size_t service = 0; service < services.size(); ++service) {
    const ReadService& read = services[service];
    for (std::size_t entry = 0; entry < read.service.ports.size(); ++entry) {
      const Port& port = read.service.ports[entry];
      const PortMarks& marks = read.ports[entry];
      claims.add(port.protocol, port.front, {service, entry, "front"}, marks.front);
      if (port.rpm != port.front) claims.add(port.protocol, port.rpm, {service, entry, "rpm"}, marks.rpm);
      // With handover both sides have the front port, one at a time.
      if (read.service.policy.strategy == Strategy::handover) continue;
      claims.add(port.protocol, port.container, {service, entry, "container"}, marks.container);
    }
  }
}

}  // namespace dualdeploy::config
