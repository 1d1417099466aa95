#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/json/object.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/types.hpp"

namespace dualdeploy::control {

struct FlipRequest {
  std::string service;
  Route to;
  std::string reason;
  bool force = false;
  bool wait = false;  ///< For the target to become healthy, up to `timeout`.
  Milliseconds timeout{30'000};
  std::optional<Milliseconds> confirm_within;
  bool dry_run = false;
};

struct LeaveRequest {
  std::string reason;
  bool wait = false;      ///< Complete when load balancers have had the time to notice.
  bool stopping = false;  ///< The instance stops: nothing that the next start of the agent should know of.
};

/// A change that was done, for people and for programs (stable JSON fields).
struct ChangeResult {
  std::string message;
  boost::json::object details;
};

/// What can be asked of the agent over the control socket. The server knows nothing else of it.
class Api {
 public:
  using Listener = std::function<void(const boost::json::object&)>;
  using Outcome = boost::asio::awaitable<Expected<ChangeResult>>;

  virtual ~Api() = default;

  // Reading.
  /// Null if there is no such service.
  [[nodiscard]] virtual boost::asio::awaitable<boost::json::value> status(std::optional<std::string> service) const = 0;
  /// The connections left on the side that gets no new ones; with `wait`, once there are none, or when that time is over.
  [[nodiscard]] virtual Outcome drain(std::string service, std::optional<Milliseconds> wait) const = 0;
  [[nodiscard]] virtual bool has_service(std::string_view name) const = 0;
  [[nodiscard]] virtual std::vector<std::string> service_names() const = 0;
  [[nodiscard]] virtual Expected<std::vector<boost::json::object>> history(std::optional<std::string> service,
                                                                           std::size_t limit, bool changes_only) const = 0;
  [[nodiscard]] virtual boost::json::object version() const = 0;
  /// The listener is called for every event until the returned handle is gone.
  [[nodiscard]] virtual std::shared_ptr<void> subscribe(Listener listener) = 0;

  // Changing. Each completes when it is done or refused.
  [[nodiscard]] virtual Outcome flip(FlipRequest request, Actor actor) = 0;
  /// What flip() would do: the guards' verdicts, the kernel transaction, the connections concerned. Changes nothing.
  [[nodiscard]] virtual Outcome dry_run(FlipRequest request) = 0;
  [[nodiscard]] virtual Outcome confirm(std::string service, std::string reason, Actor actor) = 0;
  [[nodiscard]] virtual Outcome revert(std::string service, std::string reason, Actor actor) = 0;
  [[nodiscard]] virtual Outcome hold(std::string service, std::string reason, Actor actor) = 0;
  [[nodiscard]] virtual Outcome release(std::string service, std::string reason, Actor actor) = 0;
  /// Tells load balancers to go elsewhere, until join().
  [[nodiscard]] virtual Outcome leave(LeaveRequest request, Actor actor) = 0;
  [[nodiscard]] virtual Outcome join(std::string reason, Actor actor) = 0;
  /// Every service to the RPM, and our kernel rules gone.
  [[nodiscard]] virtual Outcome rescue(std::string reason, Actor actor) = 0;
};

}  // namespace dualdeploy::control
