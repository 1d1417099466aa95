#pragma once

#include <boost/json/value.hpp>
#include <functional>
#include <string>

#include "core/error.hpp"
#include "core/time.hpp"

namespace dualdeploy::control {

/// A program's end of the control socket. Blocking, one connection a call. An error of the agent comes back with its own
/// code; `unreachable` when nobody answers, `timed_out` when no answer came in time.
class Client {
 public:
  explicit Client(std::string socket_path) : socket_(std::move(socket_path)) {}

  [[nodiscard]] Expected<boost::json::value> get(const std::string& target, Milliseconds timeout = Milliseconds{10'000}) const;
  [[nodiscard]] Expected<boost::json::value> post(const std::string& target, const boost::json::object& body,
                                                  Milliseconds timeout) const;
  /// Calls `on_event` for each line until it says false or the stream ends. `endless`: no timeout between events.
  [[nodiscard]] Expected<void> events(const std::string& target, bool endless,
                                      const std::function<bool(const boost::json::object&)>& on_event) const;

 private:
  std::string socket_;
};

}  // namespace dualdeploy::control
