#include <unistd.h>

#include <cstdlib>

#include "cli/commands.hpp"

int main(int argc, char** argv) {
  using namespace dualdeploy;
  CLI::App app{"Controls dualdeployd: the same service as an RPM and as a container, and which of them has the traffic.",
               "dualctl"};
  cli::Context context;
  context.style.colour = ::isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
  app.add_flag("--json", context.json, "JSON instead of text; its field names are stable");
  app.add_option("--socket", context.socket, "Control socket of the agent")->envname("DUALDEPLOY_SOCKET")->capture_default_str();
  app.require_subcommand(1);
  app.fallthrough();
  app.footer(
      "Exit status: 0 done; 1 failed, nothing changed; 2 usage; 3 refused by a guard;\n"
      "4 no permission; 5 agent not reachable; 6 timed out.\n"
      "Who may: root and the group dualdeploy change; the group dualdeploy-view looks.\n"
      "Way out without any of this, as root: nft delete table inet dualdeploy");
  cli::add_status(app, context);
  cli::add_flip(app, context);
  cli::add_changes(app, context);
  cli::add_drain(app, context);
  cli::add_leave(app, context);
  cli::add_history(app, context);
  cli::add_check_config(app, context);
  cli::add_rescue(app, context);
  cli::add_seal(app, context);
  cli::add_version(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(ErrorCode::usage);
  }
  return context.run();
}
