#pragma once

#include <future>
#include <string>

#include "instance/support/instance.hpp"
#include "instance/support/shell.hpp"

namespace dualdeploy::testing {

/// wrk(1) on the client host while something happens to the instance.
class Load {
 public:
  enum class Kind { keep_alive, connection_per_request };
  Load(const Instance& instance, Kind kind, int seconds, const std::string& host = "192.0.2.1", int connections = 16);

  struct Report {
    long requests = 0;
    std::string errors;  ///< wrk's lines about socket errors and answers other than 2xx; empty: none.
    std::string text;
  };
  [[nodiscard]] bool is_over() const;
  /// Waits for the end.
  Report finish();
  /// Ends it now.
  Report stop();

 private:
  const Instance& instance_;
  Scratch scratch_;
  std::future<Outcome> run_;
};

}  // namespace dualdeploy::testing
