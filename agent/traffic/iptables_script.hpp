#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "core/error.hpp"
#include "traffic/rules.hpp"

/// The iptables rule set of one address family as text for `iptables-restore --noflush`, and back from `iptables-save`.
/// Pure. What iptables 1.4.21 and Linux 3.10 do not have is not used.
///
/// Everything of ours is in chains named dualdeploy-…; of the kernel's own chains only one jump in each is ours:
///   nat     PREROUTING, OUTPUT -> -pre, -out    per front port: go to the service's chain
///           -s-NAME                             while the lease lasts: go to -r-NAME (else home, or on)
///           -r-NAME, -c-NAME, -h-NAME           testers and share; DNAT to the container's ports; to the RPM's ports
///   filter  INPUT -> -in                        holds; then the guard: the containers' ports, dark from outside
///           OUTPUT -> -send                     late UDP answers; holds for connections of this host
///           -k-NAME                             the ports that let nobody in for the moment
///
/// A lease is a window of wall-clock time (xt_time, whole seconds of UTC): from just before it was written to its end. A
/// clock that is set back or forward leads out of the window, and so to the RPM, until the agent writes it anew.
/// Stickiness is a hash of the client's address computed by xt_bpf.
namespace dualdeploy::traffic {

enum class Family : std::uint8_t { v4, v6 };
inline constexpr Family both_families[]{Family::v4, Family::v6};

/// One moment by both clocks: the agent thinks in the first, the kernel's rules in the second.
struct Moment {
  Instant now{};
  std::int64_t unix_ms = 0;
};

/// What `iptables-save` shows of us in one family.
struct Saved {
  std::map<std::string, std::vector<std::string>> chains;  ///< Our chains, as "nat dualdeploy-pre", with their rules.
  std::map<std::string, int> jumps;  ///< The rules of others' chains that lead to us, as "nat -D PREROUTING …": how many.
  bool first = false;                ///< Ours are all there, once, and before anybody else's.
  std::string fingerprint;           ///< Ours as comparable text, without counters and times.
};
[[nodiscard]] Saved parse_save(std::string_view save);
[[nodiscard]] HeldPorts held_in(const Saved& saved, Moment moment);

/// A script that makes the family hold exactly these rules.
[[nodiscard]] std::string render_replace(const Rules& rules, Family family, const Saved& saved, Moment moment);
/// A script that brings one service from `before` to `after`; it fails as a whole if `before` is not what is there.
[[nodiscard]] std::string render_change(const ServiceRules& before, const ServiceRules& after, Family family,
                                        Milliseconds lease, Moment moment);
/// A script that renews all leases, and tells holds their end anew, for the clock may have been set; empty if there are none.
[[nodiscard]] std::string render_renewal(const Rules& rules, Family family, Moment moment);
/// A script that takes everything of ours away; empty if nothing is there.
[[nodiscard]] std::string render_removal(const Saved& saved);

/// Whether this key of Saved::chains is of a chain that leads to an RPM off its front port.
[[nodiscard]] bool is_home(std::string_view chain);
/// A script that ends every lease and leaves the ways to RPMs off their front ports.
[[nodiscard]] std::string render_way_home(const Saved& saved);

/// What the rules above are made of, each as one rule to be tried in a chain that nothing leads to. Old versions of iptables-restore
/// only warn of what they do not know: what counts is that the rule is there afterwards.
struct Feature {
  std::string what;      ///< For people: "xt_time".
  std::string table;
  std::string rule;
  bool for_sticky_only = false;
};
[[nodiscard]] std::vector<Feature> features_of(Family family);
[[nodiscard]] std::string render_trial(const std::vector<Feature>& features);
[[nodiscard]] bool passed(const Saved& saved, const std::vector<Feature>& features);
[[nodiscard]] std::string render_trial_end();

/// What the kernel does now with each service of ours that it knows.
[[nodiscard]] std::map<std::string, KernelRoute> routes_of(const Saved& saved, Moment moment);

}  // namespace dualdeploy::traffic
