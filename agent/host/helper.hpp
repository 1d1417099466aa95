#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/json/object.hpp>
#include <optional>
#include <string>

#include "host/command.hpp"

/// What the agent leaves to another process where its own unit confines it (units/dualdeployd.service.d):
/// dualdeploy-helper.service runs the programs that the configuration names, outside of that confinement, and looks into
/// other users' processes. One connection a request; each is one line of JSON, and so is the answer. See helper/server.hpp.
namespace dualdeploy::host {

/// Where the helper listens: $DUALDEPLOY_HELPER, which the unit sets. Nothing: there is none, this process does it all.
[[nodiscard]] std::optional<std::string> helper_socket();

/// As run_command(), for a program that the configuration names (a check, a hook) and for rpm. The helper's if there is one. A program
/// whose caller is gone is killed.
[[nodiscard]] boost::asio::awaitable<Expected<CommandResult>> run_configured(Command command, CommandLimits limits = {});

/// Asks the helper something that it answers at once, and waits for it.
[[nodiscard]] Expected<boost::json::object> ask_helper(const std::string& socket, const boost::json::object& request);

/// The two ends of a request to run a program, as JSON. Texts are bytes: a program's output need not be UTF-8.
namespace helper_message {
inline constexpr std::size_t limit_bytes = 16 * 1024 * 1024;  ///< Of one line.
struct Run {
  Command command;
  CommandLimits limits;
};
[[nodiscard]] boost::json::object of(const Run& run);
[[nodiscard]] boost::json::object of(const Expected<CommandResult>& result);
[[nodiscard]] Expected<boost::json::object> parse(std::string_view line);
[[nodiscard]] Run run_in(const boost::json::object& request);
[[nodiscard]] Expected<CommandResult> result_in(const boost::json::object& answer);
}  // namespace helper_message

}  // namespace dualdeploy::host
