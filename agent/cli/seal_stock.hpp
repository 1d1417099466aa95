#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands.hpp"
#include "config/config.hpp"
#include "host/command.hpp"
#include "state/manifest.hpp"
#include "workload/engine_client.hpp"

/// What is installed on this machine, asked of those who know it rather than of the agent, which may be told later.
namespace dualdeploy::cli {

/// The container engine, asked one thing at a time by a program that has nothing else to do.
class BlockingEngine {
 public:
  explicit BlockingEngine(const std::string& socket);
  [[nodiscard]] Expected<std::optional<workload::EngineClient::Image>> image(const std::string& name);
  [[nodiscard]] Expected<std::optional<workload::EngineClient::Container>> container(const std::string& name);
  /// Ends it as its configuration says, then removes it. No error if there is none.
  [[nodiscard]] Expected<void> remove(const std::string& name, Milliseconds grace);

 private:
  boost::asio::io_context loop_{1};
  workload::EngineClient client_;
};

/// Runs a program to its end.
[[nodiscard]] Expected<host::CommandResult> run_program(std::vector<std::string> argv,
                                                        Milliseconds deadline = Milliseconds{30'000});
/// The first line it printed, of errors if there is no other.
[[nodiscard]] std::string first_line(const host::CommandResult& result);

struct Package {
  std::string name;      ///< NAME-VERSION-RELEASE.ARCH; empty if it is not installed.
  std::string revision;  ///< Its VCS tag.
};
[[nodiscard]] Expected<Package> installed_package(const std::string& name);

/// Errors are `failed`: something could not be asked. What is not there is empty.
[[nodiscard]] Expected<state::Manifest> take_stock(const Context& context, const config::Config& config);

/// Each difference as a line.
[[nodiscard]] std::vector<std::string> differences(const state::Manifest& sealed, const state::Manifest& now);

}  // namespace dualdeploy::cli
