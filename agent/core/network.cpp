#include "core/network.hpp"

#include <arpa/inet.h>

#include <cstring>
#include <charconv>
#include <cstddef>

namespace dualdeploy {
namespace {

/// Clears the bits behind the prefix.
std::array<std::uint8_t, 16> masked(std::array<std::uint8_t, 16> address, int prefix) {
  for (int bit = 0; bit < 128; ++bit) {
    if (bit >= prefix) address[static_cast<std::size_t>(bit / 8)] &= static_cast<std::uint8_t>(~(0x80U >> (bit % 8)));
  }
  return address;
}

}  // namespace

Expected<Network> Network::parse(std::string_view text) {
  const std::string given = "'" + std::string(text.substr(0, 60)) + "'";
  const auto expected = [&given] {
    return fail(ErrorCode::usage, given + " is no network; expected such as 10.1.0.0/16, 192.0.2.7 or 2001:db8::/32");
  };
  const std::size_t slash = text.find('/');
  const std::string address(text.substr(0, slash));
  Network network;
  network.v6_ = address.find(':') != std::string::npos;
  if (::inet_pton(network.v6_ ? AF_INET6 : AF_INET, address.c_str(), network.address_.data()) != 1) return expected();
  const int longest = network.v6_ ? 128 : 32;
  network.prefix_ = longest;
  if (slash != std::string_view::npos) {
    const std::string_view length = text.substr(slash + 1);
    const char* end = length.data() + length.size();
    const auto [stop, error] = std::from_chars(length.data(), end, network.prefix_);
    if (error != std::errc{} || stop != end || network.prefix_ < 0 || network.prefix_ > longest) return expected();
  }
  if (network.prefix_ == 0) return fail(ErrorCode::usage, given + " is everybody; to send everybody: a flip without testers");
  const auto inside = masked(network.address_, network.prefix_);
  if (inside != network.address_) {
    network.address_ = inside;
    return fail(ErrorCode::usage, given + " has bits behind its prefix; the network is " + network.text());
  }
  return network;
}

std::string Network::text() const {
  std::array<char, INET6_ADDRSTRLEN> buffer{};
  ::inet_ntop(v6_ ? AF_INET6 : AF_INET, address_.data(), buffer.data(), buffer.size());
  std::string text = buffer.data();
  if (prefix_ != (v6_ ? 128 : 32)) text += "/" + std::to_string(prefix_);
  return text;
}

bool Network::contains(const Network& other) const {
  return v6_ == other.v6_ && prefix_ <= other.prefix_ && masked(other.address_, prefix_) == address_;
}

std::strong_ordering Network::operator<=>(const Network& other) const {
  if (const auto order = v6_ <=> other.v6_; order != 0) return order;
  if (const int order = std::memcmp(address_.data(), other.address_.data(), address_.size()); order != 0) return order <=> 0;
  return prefix_ <=> other.prefix_;
}

}  // namespace dualdeploy
