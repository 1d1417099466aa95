#include "daemon/hooks.hpp"

#include <boost/asio/use_awaitable.hpp>

#include "core/printable.hpp"
#include "host/helper.hpp"

namespace dualdeploy::daemon {

namespace asio = boost::asio;

namespace {

/// A hook's last words are usually why.
std::string last_line(const std::string& text) {
  const std::size_t end = text.find_last_not_of(" \t\r\n");
  if (end == std::string::npos) return "";
  const std::size_t newline = text.find_last_of('\n', end);
  const std::size_t begin = newline == std::string::npos ? 0 : newline + 1;
  return printable(std::string_view(text).substr(begin, std::min<std::size_t>(end + 1 - begin, 200)));
}

}  // namespace

asio::awaitable<Expected<void>> run_hook(std::string service, config::Hooks hooks, action::RunHook what) {
  host::Command command;
  command.argv = what.point == HookPoint::before ? hooks.before : hooks.after;
  command.environment = {"DUALDEPLOY_HOOK=" + std::string(name_of(what.point)),
                         "DUALDEPLOY_SERVICE=" + service,
                         "DUALDEPLOY_CHANGE=" + std::string(name_of(what.kind)),
                         "DUALDEPLOY_FROM=" + describe(what.from),
                         "DUALDEPLOY_TO=" + describe(what.to),
                         "DUALDEPLOY_USER=" + what.actor.user,
                         "DUALDEPLOY_REASON=" + what.reason};
  const std::string program = command.argv.front();
  const host::CommandLimits limits{.deadline = hooks.timeout};
  auto result = co_await host::run_configured(std::move(command), limits);
  if (!result) co_return std::unexpected(std::move(result.error()).within(program));
  if (result->exit_status == 0) co_return Expected<void>{};
  const std::string words = last_line(result->error.empty() ? result->output : result->error);
  co_return fail(program + " ended with status " + std::to_string(result->exit_status) + (words.empty() ? "" : ": " + words));
}

}  // namespace dualdeploy::daemon
