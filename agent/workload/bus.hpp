#pragma once

#include <systemd/sd-bus.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "core/time.hpp"

namespace dualdeploy::workload {

/// A counted reference to a D-Bus message.
using BusMessage = std::shared_ptr<sd_bus_message>;

/// The connection to systemd's manager over the system bus (sd-bus(3), org.freedesktop.systemd1(5)), driven by the event
/// loop. Reconnects by itself; after every connect, and after systemd re-executed or reloaded itself, the listeners
/// seed themselves anew.
class Bus {
 public:
  class Listener {
   public:
    virtual ~Listener() = default;
    /// Connected, or systemd forgot what it knew of us: read everything again.
    virtual void seed() = 0;
    /// Something of this unit changed.
    virtual void unit_changed(const std::string& object_path) = 0;
    /// The bus does not answer (any more).
    virtual void lost(const std::string& why) = 0;
  };

  explicit Bus(boost::asio::any_io_executor executor);
  ~Bus();
  Bus(const Bus&) = delete;
  Bus& operator=(const Bus&) = delete;

  /// Listeners are kept weakly. The first one makes the bus connect.
  void listen(const std::shared_ptr<Listener>& listener);

  /// Has unit_changed() called for this unit's object from now on: what is read by a later call misses no change. To be
  /// repeated at every seed().
  void watch(const std::string& object_path);

  /// Calls a method of systemd's objects with string arguments. Errors: `unreachable` when the bus is gone or silent,
  /// `failed` with systemd's own words when it says no.
  [[nodiscard]] boost::asio::awaitable<Expected<BusMessage>> call(std::string object_path, std::string interface,
                                                                  std::string member, std::vector<std::string> arguments);

  /// The result of a job ("done", "failed", "timeout", …) whose path a StartUnit and its like returned. Jobs that ended
  /// before the question are remembered for a while. `job_forgotten`: it ended while the connection was lost or systemd
  /// re-executed itself, and only the unit's state can tell how.
  [[nodiscard]] boost::asio::awaitable<Expected<std::string>> job_result(std::string job_path, Milliseconds deadline);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

inline constexpr std::string_view job_forgotten = "forgotten";
inline constexpr const char* manager_path = "/org/freedesktop/systemd1";
inline constexpr const char* manager_interface = "org.freedesktop.systemd1.Manager";

}  // namespace dualdeploy::workload
