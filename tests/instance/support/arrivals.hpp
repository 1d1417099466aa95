#pragma once

#include <cstdint>
#include <string>
#include <thread>

namespace dualdeploy::testing {

/// A new client every two milliseconds who waits for none before him, unlike wrk's, of whom all may be waiting at the moment
/// that counts. Each sends one request on a connection of its own from the client host.
class Arrivals {
 public:
  explicit Arrivals(const std::string& instance, const std::string& address = "192.0.2.1", std::uint16_t port = 80);

  struct Report {
    long answered = 0;
    std::string failures;  ///< How the others ended, how many and when; empty: none.
  };
  /// No more come; those who are here still get their answer.
  Report stop();

 private:
  Report report_;
  std::jthread thread_;
};

}  // namespace dualdeploy::testing
