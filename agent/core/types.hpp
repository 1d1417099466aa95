#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "core/network.hpp"
#include "core/time.hpp"

/// The words of the product as types. No I/O here, and nothing of Asio, systemd or logging.
namespace dualdeploy {

/// One of a service's two deployments, both built from the same source.
enum class Side : std::uint8_t { rpm, container };
inline constexpr std::array<Side, 2> both_sides{Side::rpm, Side::container};
[[nodiscard]] constexpr Side other(Side side) { return side == Side::rpm ? Side::container : Side::rpm; }
[[nodiscard]] std::string_view name_of(Side side);
[[nodiscard]] std::optional<Side> side_named(std::string_view name);

/// One T for each side.
template <class T>
class PerSide {
 public:
  [[nodiscard]] T& operator[](Side side) { return values_[static_cast<std::size_t>(side)]; }
  [[nodiscard]] const T& operator[](Side side) const { return values_[static_cast<std::size_t>(side)]; }
  bool operator==(const PerSide&) const = default;

 private:
  std::array<T, 2> values_{};
};

/// Which side gets new connections.
struct Route {
  int container_percent = 0;  ///< The container's share: 0 (everything to the RPM) to 100 (flipped).
  /// The share is one of clients, by source address, rather than one of connections at random. Raising the share moves
  /// nobody back to the RPM.
  bool sticky = false;
  std::vector<Network> testers;  ///< These always get the container. In order, none inside another.

  /// Without what has no meaning: stickiness and testers where everything goes to the container.
  [[nodiscard]] static Route of(int container_percent, bool sticky = false, std::vector<Network> testers = {});
  [[nodiscard]] static Route to(Side side) { return of(side == Side::container ? 100 : 0); }

  /// Nothing at all goes to the container.
  [[nodiscard]] bool all_rpm() const { return container_percent == 0 && testers.empty(); }
  [[nodiscard]] bool uses(Side side) const { return side == Side::container ? !all_rpm() : container_percent < 100; }
  bool operator==(const Route&) const = default;
};
inline constexpr std::size_t most_testers = 64;
/// "rpm", "container", "container 25%", "container 25% sticky", "rpm, testers 10.0.0.0/8 2001:db8::/32".
[[nodiscard]] std::string describe(const Route& route);
/// The inverse of describe().
[[nodiscard]] std::optional<Route> route_described(std::string_view text);

/// What a side's process supervisor (systemd, the container engine) says of it.
enum class RunState : std::uint8_t {
  unknown,   ///< The supervisor does not answer. Not a failure of the side: the probes decide.
  missing,   ///< Nothing to run: no such unit; no such image.
  stopped,   ///< Not running, by somebody's wish or never started.
  starting,  ///< On its way up.
  running,   ///< Has a main process.
  stopping,  ///< On its way down.
  failed,    ///< Ended by itself, badly.
};
[[nodiscard]] std::string_view name_of(RunState state);

/// A side as its supervisor sees it.
struct Workload {
  RunState state = RunState::unknown;
  std::int64_t pid = 0;   ///< Main process on the host, 0 if none.
  std::string detail;     ///< For people: "exited with status 1", "image shop:1 is not on this machine".
  std::string revision;   ///< What was built, if known: package version or image label. May be empty.
  std::string artifact;   ///< Package name-version or image id. May be empty.
  bool outdated = false;  ///< Runs with another image or configuration than its next start would give it.
  bool operator==(const Workload&) const = default;
};

/// What the health checks say of a side.
enum class Verdict : std::uint8_t { unknown, healthy, sick };
[[nodiscard]] std::string_view name_of(Verdict verdict);

/// A health check's last failure.
struct ProbeFailure {
  std::string reason;   ///< "HTTP status 503, expected 200", "connection refused", "no answer within 2s".
  std::string excerpt;  ///< The first bytes of the body or the command's output; printable, bounded.
  /// The agent could not even try, for want of descriptors, memory, ports or processes: this says nothing of the side.
  bool inconclusive = false;
  bool operator==(const ProbeFailure&) const = default;
};

/// Who asked. `agent` for the agent's own decisions.
struct Actor {
  std::int64_t uid = -1;
  std::int64_t pid = 0;
  std::string user = "agent";
  bool operator==(const Actor&) const = default;
};

/// An operator's lock on the route.
struct Hold {
  Actor owner;
  std::string reason;
  std::int64_t since_unix_ms = 0;
  bool operator==(const Hold&) const = default;
};

}  // namespace dualdeploy
