#pragma once

#include <boost/json/object.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/commands.hpp"
#include "config/config.hpp"
#include "state/manifest.hpp"

namespace dualdeploy::cli {

/// Everything that has to hold for an image to be taken of this machine, and does not, one line each: what, and what to do.
using Problems = std::vector<std::string>;

/// Looks and changes nothing: units, packages, images, routes, and rules in files that a boot would load. `root` is another
/// one in tests.
[[nodiscard]] Problems check_machine(const config::Config& config);
[[nodiscard]] Problems check_saved_rules(const std::filesystem::path& root = "/");

/// Has the agent read the configuration that lies there, and waits until it has.
[[nodiscard]] Problems reload_agent(const Context& context);

/// Asks the agent: every route at the RPM, both sides healthy (waited for), and every guard of a flip passes.
[[nodiscard]] Expected<Problems> check_services(const Context& context, const config::Config& config, Milliseconds timeout);

/// One flip there and back, of one service. Ends at the RPM, whatever happens.
[[nodiscard]] Problems flip_there_and_back(const Context& context, const std::string& service, Milliseconds timeout);

/// What is installed now, by the agent's account.
[[nodiscard]] Expected<state::Manifest> take_stock(const Context& context, const config::Config& config);

/// Each difference as a line.
[[nodiscard]] std::vector<std::string> differences(const state::Manifest& sealed, const state::Manifest& now);

/// Runs a program, for its exit status and first line of output.
struct Ran {
  int status = -1;
  std::string line;
};
[[nodiscard]] Ran run_program(std::vector<std::string> argv);

}  // namespace dualdeploy::cli
