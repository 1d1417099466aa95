#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "traffic/backend.hpp"

namespace dualdeploy::traffic {

/// Keeps the kernel as it shall be: carries out route changes one at a time, renews the leases, and puts our rules back
/// when somebody else changed them.
class Router {
 public:
  struct Settings {
    Milliseconds drift_check{5'000};
  };
  /// A foreign change was found and repaired (or not: `error`).
  struct Drift {
    std::string what;  ///< "our table was gone", "our rules were changed", "our leases had ended"
    std::string who;
    Milliseconds took{0};  ///< From the notice to the repair.
    std::optional<Error> error;
  };
  using OnDrift = std::function<void(const Drift&)>;
  /// The lease could not be renewed; empty when it works again.
  using OnLease = std::function<void(const std::optional<Error>&)>;

  Router(boost::asio::any_io_executor executor, std::unique_ptr<Backend> backend, Settings settings, OnDrift on_drift,
         OnLease on_lease);
  ~Router();
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  /// What the kernel holds now. Changes nothing.
  [[nodiscard]] boost::asio::awaitable<Expected<Observed>> observe();

  /// Makes the kernel hold exactly these rules, and begins to keep them so. Also for a reload: services that are known
  /// already keep the route that was carried out last.
  [[nodiscard]] boost::asio::awaitable<Expected<void>> establish(Rules rules);

  /// Sends the service's new connections along `route`, at most until `until`: the kernel ends it then by itself. On an
  /// error the kernel holds what it held before, as far as it says; ask again to be sure.
  [[nodiscard]] boost::asio::awaitable<Expected<void>> set_route(std::string service, Route route,
                                                                 std::optional<Instant> until = {});

  /// Lets nobody in to the service's front ports until `until`, or, without it, lets them in again. Errors as set_route().
  [[nodiscard]] boost::asio::awaitable<Expected<void>> hold(std::string service, std::optional<Instant> until);

  /// The transaction that set_route() would commit now.
  [[nodiscard]] std::string preview(const std::string& service, const Route& route,
                                    std::optional<Milliseconds> at_most) const;

  /// Takes all our rules away and keeps nothing until the next establish() or set_route().
  [[nodiscard]] boost::asio::awaitable<Expected<void>> stand_down();

  [[nodiscard]] std::string_view backend_name() const;
  /// Foreign changes repaired since the start.
  [[nodiscard]] std::uint64_t repairs() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace dualdeploy::traffic
