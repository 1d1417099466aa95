#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <functional>
#include <memory>
#include <optional>

#include "config/config.hpp"
#include "core/types.hpp"
#include "health/probe.hpp"

namespace dualdeploy::health {

/// Repeats one side's check for as long as it lives: at once, then at a fixed rate; never two at a time, and beats that
/// were missed because a probe took long are left out.
class Checker {
 public:
  /// `started`: when the probe began. An empty failure: it passed.
  using OnResult = std::function<void(Instant started, std::optional<ProbeFailure> failure)>;

  /// `phase`: the beats after the first probe come so much earlier than at its distance: checkers that begin together need
  /// not go on together.
  Checker(boost::asio::any_io_executor executor, config::Check check, std::uint16_t default_port, ProbeIdentity identity,
          OnResult on_result, Milliseconds phase = Milliseconds{0});
  ~Checker();
  Checker(const Checker&) = delete;
  Checker& operator=(const Checker&) = delete;

  /// The next probe starts now (as soon as one that runs has ended).
  void check_now();
  /// While a side is to recover it is asked at least every 250 ms, so that this is seen soon.
  void set_fast(bool fast);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace dualdeploy::health
