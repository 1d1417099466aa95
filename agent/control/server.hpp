#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <filesystem>
#include <memory>

#include "control/api.hpp"
#include "control/peer.hpp"

namespace dualdeploy::control {

/// Bounds that keep one client from hurting another.
struct Limits {
  std::size_t connections = 128;  ///< In all. Beyond, who may not change gets 503 at once.
  std::size_t connections_per_user = 16;  ///< For every user but root, and for all together who may not even look.
  std::size_t header_bytes = 8 * 1024;
  std::size_t body_bytes = 64 * 1024;
  Milliseconds request{5'000};  ///< A request must have arrived so long after its first byte (or the connection).
  Milliseconds idle{30'000};    ///< A kept-alive connection is closed after so long without a request.
  Milliseconds write{10'000};   ///< An answer must be taken within this time.
  std::size_t follow_events = 1'024;  ///< Events that may wait for a slow follower before it is dropped.
};

/// HTTP/1.1 with JSON over a unix stream socket: `curl --unix-socket /run/dualdeploy/control.sock http://x/v1/status`.
/// Anybody may connect; the kernel says who it is, and the answer to those who may not is a clear 403.
class Server {
 public:
  Server(boost::asio::any_io_executor executor, Api& api, Limits limits, Access access);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Makes the socket itself. A stale one is replaced; one that somebody answers on is an error.
  [[nodiscard]] Expected<void> listen(const std::filesystem::path& path);
  /// Takes over a listening socket that systemd has made.
  void adopt(int socket);
  /// Accepts nothing more and closes what is open.
  void stop();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace dualdeploy::control
