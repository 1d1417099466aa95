#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cli/commands.hpp"
#include "cli/seal_stock.hpp"
#include "config/config.hpp"

namespace dualdeploy::cli {

/// What has to hold for an image to be taken of this machine, and does not, one line each: what, why, and what to do.
using Problems = std::vector<std::string>;

/// Looks and changes nothing: units that the next boot has to start, packages.
[[nodiscard]] Problems check_machine(const config::Config& config);
/// Rules of ours in files that a boot would load. `root` is another one in tests.
[[nodiscard]] Problems check_saved_rules(const std::filesystem::path& root = "/");

/// Has the agent read the configuration that lies there, and waits until it has.
[[nodiscard]] Problems reload_agent(const Context& context);

/// Asks the agent: it is the one installed, every route is at the RPM, nobody holds one or is asked to confirm one.
[[nodiscard]] Problems check_routes(const Context& context);
/// Asks the agent and the engine: the agent runs this configuration, both sides are healthy, the containers are of the
/// images that are here (all of it waited for), and the sides are of one revision.
[[nodiscard]] Problems check_services(const Context& context, const config::Config& config, Milliseconds timeout);

/// One flip there and back, of one service. Ends at the RPM, whatever happens.
[[nodiscard]] Problems flip_there_and_back(const Context& context, const std::string& service, Milliseconds timeout);

}  // namespace dualdeploy::cli
