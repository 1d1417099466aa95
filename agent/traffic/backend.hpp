#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <string>
#include <string_view>

#include "traffic/rules.hpp"

namespace dualdeploy::traffic {

/// The kernel's side of the routes. Every call is one atomic transaction or none at all; of those that write, none is made
/// while another is under way (the Router sees to that).
class Backend {
 public:
  struct Notices {
    /// Somebody else changed the kernel's rule sets; `who` names the program, "somebody" if that is not known.
    std::function<void(const std::string& who)> foreign_change;
    /// The leases are to be renewed now: the clock that they go by was set.
    std::function<void()> leases_shifted;
  };

  virtual ~Backend() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;
  /// Whether its tools are on this machine at all.
  [[nodiscard]] virtual bool installed() const = 0;

  /// Whether this kernel and its tools can do it; an error says what is missing.
  [[nodiscard]] virtual boost::asio::awaitable<Expected<void>> usable() = 0;
  [[nodiscard]] virtual boost::asio::awaitable<Expected<Observed>> observe() = 0;
  /// Whether nobody else can have changed a rule since observe() began last; false in doubt. Leases may have ended all the same.
  [[nodiscard]] virtual bool same_as_observed() { return false; }

  /// Replaces everything of ours.
  [[nodiscard]] virtual boost::asio::awaitable<Expected<void>> replace(const Rules& rules) = 0;
  /// Brings one service from `before` to `after`; everything else stays as it is. Fails if the kernel does not hold what
  /// `before` says.
  [[nodiscard]] virtual boost::asio::awaitable<Expected<void>> change(const ServiceRules& before,
                                                                     const ServiceRules& after, Milliseconds lease) = 0;
  /// The transaction that change() would commit, as its tool reads it.
  [[nodiscard]] virtual std::string preview(const ServiceRules& before, const ServiceRules& after,
                                            Milliseconds lease) const = 0;
  /// Starts the lease of every active service anew.
  [[nodiscard]] virtual boost::asio::awaitable<Expected<void>> renew(const Rules& rules) = 0;
  /// Whoever put them there: takes the redirects away, but not the way to an RPM that is off its front port. Returns a
  /// text of what was done; empty where there was nothing.
  [[nodiscard]] virtual boost::asio::awaitable<Expected<std::string>> rescue() = 0;
  /// Takes everything of ours away.
  [[nodiscard]] virtual boost::asio::awaitable<Expected<void>> remove() = 0;

  /// Whether foreign changes are noticed as they are made, rather than by looking now and then.
  [[nodiscard]] virtual bool tells_of_changes() const { return false; }
  /// Begins to report what can be noticed at once. The Router checks everything from time to time besides.
  virtual void watch(Notices notices) = 0;
};

}  // namespace dualdeploy::traffic
