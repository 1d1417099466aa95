#include "daemon/leaving.hpp"

#include <spdlog/spdlog.h>

#include <fstream>

#include "host/clock.hpp"

namespace dualdeploy::daemon {

Leaving::Leaving(std::filesystem::path file) : file_(std::move(file)) {
  std::ifstream stream(file_);
  std::string why;
  if (std::getline(stream, why)) asked_ = Why{why, host::now()};
}

void Leaving::ask(const std::string& why, Instant at, bool lasting) {
  asked_ = Why{why, asked_ ? asked_->since : at};
  if (!lasting) return;
  std::ofstream stream(file_);
  stream << why << "\n";
  if (!stream.flush()) spdlog::warn("{} cannot be written: a restart of the agent would end 'leave'", file_.string());
}

bool Leaving::withdraw() {
  std::error_code ignored;
  std::filesystem::remove(file_, ignored);
  return std::exchange(asked_, std::nullopt).has_value();
}

void Leaving::notice(const std::optional<std::string>& why, Instant at) {
  noticed_ = why ? std::optional(Why{*why, at}) : std::nullopt;
}

}  // namespace dualdeploy::daemon
