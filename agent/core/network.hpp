#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.hpp"

namespace dualdeploy {

/// An IPv4 or IPv6 network in CIDR notation (RFC 4632, RFC 4291 section 2.3).
class Network {
 public:
  /// "10.0.0.0/8", "2001:db8::/32", or one address. Bits behind the prefix are an error that names the network meant,
  /// and so is 0.0.0.0/0: it is not a network of testers but everybody.
  [[nodiscard]] static Expected<Network> parse(std::string_view text);

  /// The form that parse() reads back; a single address without its prefix length.
  [[nodiscard]] std::string text() const;
  [[nodiscard]] bool is_v6() const { return v6_; }
  [[nodiscard]] bool contains(const Network& other) const;

  bool operator==(const Network&) const = default;
  /// IPv4 first, then by address. (libc++ 16 has no <=> of arrays.)
  [[nodiscard]] std::strong_ordering operator<=>(const Network& other) const;

 private:
  bool v6_ = false;
  std::array<std::uint8_t, 16> address_{};
  int prefix_ = 0;
};

}  // namespace dualdeploy
