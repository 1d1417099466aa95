#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dualdeploy::instance::testing {

/// Plays EC2's instance metadata service over loopback, on the loop of the test: tokens and values as the service has
/// them (docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html), and what can go wrong.
class MetadataStandIn {
 public:
  /// What was asked.
  struct Request {
    std::string line;  ///< "GET /latest/meta-data/instance-id"
    std::map<std::string, std::string> headers;  ///< By name in lower case.
  };
  /// Sent in place of an answer, byte for byte.
  struct Fault {
    enum class Then {
      close,
      keep_quiet,
      drip,  ///< Goes on, byte by byte, for ever.
    };
    std::string sends;
    Then then = Then::close;
  };

  static constexpr const char* token_target = "/latest/api/token";
  static constexpr const char* id_target = "/latest/meta-data/instance-id";

  /// Listens on a port that is free, at once.
  explicit MetadataStandIn(boost::asio::io_context& loop, const std::string& address = "127.0.0.1");
  ~MetadataStandIn();

  /// "http://127.0.0.1:PORT" and "127.0.0.1:PORT".
  [[nodiscard]] std::string endpoint() const;
  [[nodiscard]] std::string authority() const;

  void set_value(const std::string& target, std::string value);
  void set_fault(const std::string& target, Fault fault);
  void clear_faults();
  /// Told with the tokens from now on; nothing: none is told.
  void set_lifetime(std::optional<std::chrono::seconds> lifetime);
  /// The tokens given so far are refused.
  void forget_tokens();

  [[nodiscard]] const std::vector<Request>& requests() const;
  /// Their lines, without GET, PUT and "/latest/": "api/token", "meta-data/instance-id".
  [[nodiscard]] std::vector<std::string> asked() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace dualdeploy::instance::testing
