#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "core/error.hpp"

namespace dualdeploy::workload {

/// The properties of org.freedesktop.systemd1(5) that matter here. All but NRestarts (235) exist in systemd 219.
struct UnitView {
  std::string load_state;
  std::string active_state;
  std::string sub_state;
  std::string result;
  std::int64_t main_pid = 0;
  std::int64_t exit_code = 0;    ///< si_code of waitid(2): CLD_EXITED, CLD_KILLED, CLD_DUMPED; 0: never ran.
  std::int64_t exit_status = 0;  ///< Exit status or signal.
  std::int64_t restarts = 0;     ///< By systemd itself, since it was last started.
};

[[nodiscard]] bool is_up(const UnitView& view);

enum class UnitJob : std::uint8_t { start, restart, stop };

/// How systemd is asked about units, and for jobs.
class Systemd {
 public:
  class Listener {
   public:
    virtual ~Listener() = default;
    /// The unit changed, or may have: read it again.
    virtual void changed() = 0;
    /// systemd does not answer (any more).
    virtual void lost(const std::string& why) = 0;
  };

  virtual ~Systemd() = default;

  /// Begins to tell of a unit, at once for the first time. Listeners are kept weakly.
  virtual void listen(const std::string& unit, const std::shared_ptr<Listener>& listener) = 0;

  /// Errors: `unreachable` when systemd cannot be asked, `failed` when its answer is none.
  [[nodiscard]] virtual boost::asio::awaitable<Expected<UnitView>> read(std::string unit) = 0;

  /// Completes when the job has ended; the error says in systemd's words why it did not end well. A job that takes more
  /// than 95 s (its own default is 90 s) is reported as timed out, and not cancelled.
  [[nodiscard]] virtual boost::asio::awaitable<Expected<void>> run(UnitJob job, std::string unit) = 0;
};

/// Over the system bus (sd-bus(3)): told of every change.
[[nodiscard]] std::shared_ptr<Systemd> make_bus_systemd(boost::asio::any_io_executor executor);

/// By systemctl(1), in the words that systemd 219 has: for CentOS 7, whose libsystemd has no sd-bus. Looks every 2 s for
/// what nobody tells.
[[nodiscard]] std::shared_ptr<Systemd> make_systemctl(boost::asio::any_io_executor executor);

/// The better of those that this was built with.
[[nodiscard]] std::shared_ptr<Systemd> make_systemd(boost::asio::any_io_executor executor);

}  // namespace dualdeploy::workload
