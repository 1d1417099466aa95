#pragma once

#include <string>
#include <vector>

namespace dualdeploy::testing {

/// Long connections of the client host to the sample service (/stream, which echoes lines), held by this process.
class HeldConnections {
 public:
  /// Connects `count` times; the test fails if one does not open. IPv4 or IPv6 by the form of the address.
  HeldConnections(const std::string& instance, const std::string& address, int port, int count);
  ~HeldConnections();
  HeldConnections(const HeldConnections&) = delete;
  HeldConnections& operator=(const HeldConnections&) = delete;

  /// Ends the first `count` of those still open.
  void end(int count);
  /// How many still answer a line.
  [[nodiscard]] int alive() const;

 private:
  std::vector<int> sockets_;
};

}  // namespace dualdeploy::testing
