#include "core/endpoint.hpp"

#include <arpa/inet.h>

#include <charconv>

namespace dualdeploy {

namespace {

bool is_address(int family, const std::string& text) {
  in6_addr bytes{};
  return text.find('\0') == std::string::npos && ::inet_pton(family, text.c_str(), &bytes) == 1;
}

std::optional<std::uint16_t> port_in(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return port;
}

}  // namespace

std::string Endpoint::authority() const {
  const std::string host = !address.contains(':') ? address : "[" + address + "]";
  return port == 80 ? host : host + ":" + std::to_string(port);
}

std::optional<Endpoint> endpoint_in(std::string_view text, std::optional<std::uint16_t> default_port) {
  const bool bracketed = text.starts_with('[');
  const std::size_t host_end = bracketed ? text.find(']') : text.find(':');
  if (bracketed && host_end == std::string_view::npos) return std::nullopt;
  const std::string host(bracketed ? text.substr(1, host_end - 1) : text.substr(0, host_end));
  if (!is_address(bracketed ? AF_INET6 : AF_INET, host)) return std::nullopt;
  std::string_view rest = host_end == std::string_view::npos ? std::string_view() : text.substr(host_end);
  if (bracketed) rest.remove_prefix(1);
  const auto port = rest.empty() ? default_port : rest.front() == ':' ? port_in(rest.substr(1)) : std::nullopt;
  if (!port) return std::nullopt;
  return Endpoint{host, *port};
}

Expected<Endpoint> parse_endpoint(std::string_view text) {
  constexpr std::string_view scheme = "http://";
  constexpr std::uint16_t http_port = 80;
  const auto endpoint = text.starts_with(scheme) ? endpoint_in(text.substr(scheme.size()), http_port) : std::nullopt;
  if (endpoint && endpoint->port != 0) return *endpoint;
  return fail(ErrorCode::usage, "'" + std::string(text) +
                                    "' is no endpoint; expected http:// with an IPv4 or [IPv6] address and maybe a "
                                    "port, such as http://169.254.169.254 or http://[fd00:ec2::254]:80");
}

}  // namespace dualdeploy
