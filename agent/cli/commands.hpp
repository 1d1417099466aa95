#pragma once

#include <CLI/CLI.hpp>
#include <boost/json/object.hpp>
#include <functional>
#include <string>

#include "cli/print.hpp"
#include "control/client.hpp"

/// dualctl's commands: each adds itself to the command line and, when chosen, sets what is to run.
namespace dualdeploy::cli {

/// What all commands share.
struct Context {
  std::string socket = "/run/dualdeploy/control.sock";
  bool json = false;
  Style style;
  /// The chosen command; returns the exit status.
  std::function<int()> run;

  [[nodiscard]] control::Client client() const { return control::Client(socket); }
};

void add_status(CLI::App& app, Context& context);
void add_flip(CLI::App& app, Context& context);
void add_changes(CLI::App& app, Context& context);  ///< confirm, revert, hold, release
void add_drain(CLI::App& app, Context& context);
void add_history(CLI::App& app, Context& context);  ///< history, events
void add_leave(CLI::App& app, Context& context);  ///< leave, join
void add_check_config(CLI::App& app, Context& context);
void add_rescue(CLI::App& app, Context& context);
void add_seal(CLI::App& app, Context& context);
void add_version(CLI::App& app, Context& context);

/// Refuses what would be another path or query in a request. Whether there is such a service, the agent says.
CLI::Validator service_name();
/// Prints the error, as JSON if asked for, and returns its exit status.
int report(const Context& context, const Error& error);
/// A line of JSON on standard output.
void print_json(const boost::json::value& value);

}  // namespace dualdeploy::cli
