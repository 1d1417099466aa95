#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.hpp"

namespace dualdeploy {

/// A literal address with a port: nothing here may depend on a resolver.
struct Endpoint {
  std::string address;  ///< IPv4 or IPv6, without brackets and without a zone.
  std::uint16_t port = 80;
  /// As in the header Host (RFC 9110, section 7.2): "169.254.169.254", "[::1]:8080".
  [[nodiscard]] std::string authority() const;
  bool operator==(const Endpoint&) const = default;
};

/// "A.B.C.D:PORT" or "[A::B]:PORT"; without a port only where there is a default. Port 0 is one.
[[nodiscard]] std::optional<Endpoint> endpoint_in(std::string_view text, std::optional<std::uint16_t> default_port = {});
/// "http://host[:port]". Error: `usage`, says what is expected.
[[nodiscard]] Expected<Endpoint> parse_endpoint(std::string_view text);

}  // namespace dualdeploy
