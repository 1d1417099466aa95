#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>

#include "core/endpoint.hpp"
#include "core/error.hpp"
#include "core/time.hpp"
#include "host/clock.hpp"

namespace dualdeploy::instance {

/// The EC2 instance metadata service, version 2 (docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-metadata.html
/// and configuring-instance-metadata-service.html): a token first, kept for its six hours, then values. A connection a
/// request; no redirect is followed. The packets need no mark: 169.254.169.254 is no local address, so that the redirect
/// of the front port does not see them.
///
/// Errors: `timed_out` when a deadline passed; `unreachable` when there was no answer, or none to go by: switched off
/// (403), throttled (429, 503), any other status, not HTTP, cut off, more than 64 KiB. Both mean unknown, never "there
/// is none", and are to be tried again with Backoff. `usage` when the endpoint or the path is none. Each message names
/// the endpoint, what was asked and what happened.
class Metadata {
 public:
  struct Settings {
    std::string endpoint = "http://169.254.169.254";
    Milliseconds timeout{1'000};  ///< Of one exchange. A call has four at most: token and value, and again after a 401.
  };

  /// `clock` tells when the token ends.
  Metadata(boost::asio::any_io_executor executor, Settings settings, std::function<Instant()> clock = host::now);
  ~Metadata();

  /// GET /latest/meta-data/PATH, for example "instance-id". Nothing: the service says that there is no such thing (404).
  [[nodiscard]] boost::asio::awaitable<Expected<std::optional<std::string>>> get(std::string path);
  /// GET /latest/user-data, any bytes. Nothing: the instance was started without.
  [[nodiscard]] boost::asio::awaitable<Expected<std::optional<std::string>>> user_data();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  ///< Shared with the calls under way, which may outlive this.
};

/// How long to wait before the next try: doubles from `first` to `most`, less a random part of up to a half, so that
/// programs that failed together do not try again together. Never shorter than `first`, never longer than `most`.
class Backoff {
 public:
  Backoff(Milliseconds first, Milliseconds most, std::uint32_t seed);

  [[nodiscard]] Milliseconds next();
  /// After a success: the next wait is `first` again.
  void reset() { step_ = first_; }

 private:
  Milliseconds first_;
  Milliseconds most_;
  Milliseconds step_;
  std::mt19937 random_;
};

}  // namespace dualdeploy::instance
