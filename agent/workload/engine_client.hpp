#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/json/object.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/error.hpp"
#include "core/time.hpp"

namespace dualdeploy::workload {

/// The Docker Engine API over its unix socket (docs.docker.com/reference/api/engine), from Docker 1.13 (API 1.26) to
/// Docker 29 (whose first releases take nothing below API 1.44); Podman's compatible socket too. The version is
/// negotiated: the highest that both know. A connection a request; each request has a deadline.
///
/// Errors: `unreachable` when the engine does not answer (in time, or at all), `failed` when it says no.
class EngineClient {
 public:
  struct Image {
    std::string id;        ///< "sha256:…"
    std::string revision;  ///< Label org.opencontainers.image.revision; may be empty.
  };
  struct Container {
    std::string id;
    std::string image_id;
    bool running = false;
    std::string status;  ///< created, running, paused, restarting, removing, exited, dead
    std::int64_t pid = 0;
    int exit_code = 0;
    bool oom_killed = false;
    std::string error;
    boost::json::object labels;
  };
  /// One event of the engine: what happened to which container.
  struct Event {
    std::string action;     ///< die, start, stop, destroy, "health_status: healthy" …; Podman's `died` is told as `die`.
    std::string exit_code;  ///< Of `die`; may be empty.
  };
  using OnEvent = std::function<void(const Event&)>;
  /// Ends a follow_events() from outside.
  struct Following {
    bool stopped = false;
    std::function<void()> close = [] {};  ///< Set by follow_events().
    void stop() {
      stopped = true;
      close();
    }
  };

  /// API 1.N, the newest that this client knows. Only a bound: nothing that API 1.26 lacks is used.
  static constexpr int newest_minor = 52;

  EngineClient(boost::asio::any_io_executor executor, std::string socket_path, int highest_minor = newest_minor);
  ~EngineClient();

  [[nodiscard]] boost::asio::awaitable<Expected<void>> ping();
  /// Nothing: there is no such image (container).
  [[nodiscard]] boost::asio::awaitable<Expected<std::optional<Image>>> inspect_image(std::string name);
  [[nodiscard]] boost::asio::awaitable<Expected<std::optional<Container>>> inspect_container(std::string name);
  [[nodiscard]] boost::asio::awaitable<Expected<void>> create(std::string name, boost::json::object body);
  [[nodiscard]] boost::asio::awaitable<Expected<void>> start(std::string name);
  /// SIGTERM, then SIGKILL after `grace`. No error if it is not running.
  [[nodiscard]] boost::asio::awaitable<Expected<void>> stop(std::string name, Milliseconds grace);
  /// No error if there is none.
  [[nodiscard]] boost::asio::awaitable<Expected<void>> remove(std::string name);
  /// Follows the events of one container until the stream ends, which is an error. `on_open` is called once the engine
  /// has accepted the request: what happens from then on is told.
  [[nodiscard]] boost::asio::awaitable<Error> follow_events(std::string container, std::function<void()> on_open,
                                                            OnEvent on_event, std::shared_ptr<Following> following);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace dualdeploy::workload
