#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "instance/support/background.hpp"

namespace dualdeploy::testing {

/// A stand-in for EC2's metadata service, on an instance's client host.
class MetadataService {
 public:
  explicit MetadataService(const Instance& instance);
  ~MetadataService();
  MetadataService(const MetadataService&) = delete;
  MetadataService& operator=(const MetadataService&) = delete;

  /// A value below meta-data/; "" removes it.
  void set(const std::string& path, const std::string& value) const;
  void set_user_data(const std::string& text) const;
  /// good, slow, throttling, error, garbage, drop, flapping
  void behave(const std::string& mode) const;
  /// Nobody listens any more.
  void stop();
  void start();

  /// What agent.yaml says to use it.
  static constexpr const char* settings =
      "metadata: {use: on, endpoint: 'http://192.0.2.2:8169', timeout: 500ms, patience: 3s, poll: 200ms}\n";

 private:
  const Instance& instance_;
  std::filesystem::path directory_;
  std::optional<Background> program_;
};

}  // namespace dualdeploy::testing
