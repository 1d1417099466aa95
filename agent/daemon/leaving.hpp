#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "core/time.hpp"

namespace dualdeploy::daemon {

/// Whether load balancers are told to leave this instance. An operator's wish survives the agent, not the boot: it stands
/// in a file on a file system that is new at each boot.
class Leaving {
 public:
  explicit Leaving(std::filesystem::path file);

  struct Why {
    std::string text;
    Instant since;
  };
  /// The reason in force: an operator's goes before EC2's.
  [[nodiscard]] const std::optional<Why>& now() const { return asked_ ? asked_ : noticed_; }

  /// `lasting`: until join(), also across restarts of the agent.
  void ask(const std::string& why, Instant at, bool lasting);
  /// False: nobody had asked.
  bool withdraw();
  void notice(const std::optional<std::string>& why, Instant at);
  [[nodiscard]] bool noticed() const { return noticed_.has_value(); }

 private:
  std::filesystem::path file_;
  std::optional<Why> asked_;
  std::optional<Why> noticed_;
};

}  // namespace dualdeploy::daemon
