#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>

/// Plays a container engine that cannot be had here: one image, any containers, and the engine's own way to say things,
/// from its documentation and from what users have reported of it. Real engines are asked the same in
/// integration/workload/engine_test.cpp.
namespace dualdeploy::workload::testing {

/// How one engine differs from another.
struct Dialect {
  std::string name;
  int newest = 41;               ///< API 1.N
  int oldest = 12;
  bool ping_tells = true;        ///< GET /_ping has the header Api-Version.
  bool plain_errors = false;     ///< Errors are plain text rather than {"message": …}.
  bool old_event_names = true;   ///< Events have status, id and from beside Type, Action and Actor: until API 1.51.
  std::string died = "die";      ///< Podman's: died.
  std::string exit_code = "exitCode";  ///< Podman's: containerExitCode.
  bool late_header = false;      ///< The header of the event stream comes with the first event.
  bool pieces = false;           ///< Events are cut in the middle of a line.
};

class EngineStandIn {
 public:
  /// Listens at `socket` at once.
  EngineStandIn(boost::asio::io_context& loop, std::string socket, Dialect dialect);
  ~EngineStandIn();

  static constexpr const char* image = "shop:1.4";
  static constexpr const char* revision = "c0ffee";

  /// The main process of the container that runs has died of SIGKILL.
  void process_killed();
  /// The path of the last request that named a version: "/v1.26".
  [[nodiscard]] std::string version_used() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace dualdeploy::workload::testing
