#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/error.hpp"
#include "core/time.hpp"

namespace dualdeploy::control {

/// What a load balancer is told of one service.
struct FrontHealth {
  unsigned status = 200;  ///< 200: send traffic here; 503: not now; 404: there is no such service.
  std::string text;       ///< One line that says why, for people.
};

/// GET and HEAD /healthz/SERVICE over TCP, for load balancers: read-only, open to everybody who reaches the address, and
/// telling no more than health. A connection an answer, as load balancers check.
class HealthListener {
 public:
  /// Completes with the health of a service; "" asks for all of them together.
  using Ask = std::function<boost::asio::awaitable<FrontHealth>(std::string service)>;
  struct Limits {
    std::size_t connections = 256;  ///< Beyond, the oldest makes room: a stranger's idle ones keep no check out.
    Milliseconds exchange{5'000};   ///< From a connection's beginning to its answer.
  };

  HealthListener(boost::asio::any_io_executor executor, Ask ask, Limits limits);
  ~HealthListener();
  HealthListener(const HealthListener&) = delete;
  HealthListener& operator=(const HealthListener&) = delete;

  /// `address` is "A.B.C.D:PORT" or "[A::B]:PORT"; [::] takes IPv4 as well.
  [[nodiscard]] Expected<void> listen(const std::string& address);
  /// The same, tried until it works: at a boot the address may not be there yet. `on_trouble` is told why not, and, after
  /// that, when it does (nothing).
  void keep_trying(const std::string& address, std::function<void(std::optional<Error>)> on_trouble);
  /// Where it listens, for port 0.
  [[nodiscard]] std::uint16_t port() const;

 private:
  struct Impl;
  static boost::asio::awaitable<void> try_again(HealthListener* listener, std::shared_ptr<Impl> impl, std::string address,
                                                std::function<void(std::optional<Error>)> on_trouble);
  std::shared_ptr<Impl> impl_;
};

}  // namespace dualdeploy::control
