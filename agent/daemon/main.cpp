#include <CLI/CLI.hpp>
#include <string>

#include "config/config.hpp"
#include "daemon/run.hpp"
#include "daemon/version.hpp"

int main(int argc, char** argv) {
  CLI::App app{"Supervises a service's RPM and container side and routes its traffic. Controlled by dualctl(1).",
               "dualdeployd"};
  std::string config_file(dualdeploy::config::default_path);
  std::string control_socket = "/run/dualdeploy/control.sock";
  app.add_option("--config", config_file, "Main configuration file; services.d is looked for beside it")
      ->capture_default_str();
  app.add_option("--socket", control_socket, "Control socket, when systemd does not pass one")->capture_default_str();
  app.set_version_flag("--version", std::string(dualdeploy::daemon::version_text) + " (" +
                                        std::string(dualdeploy::daemon::revision_text) + ")");
  app.footer("SIGHUP reloads the configuration. SIGTERM ends the agent and leaves the traffic as it is.\n"
             "Exit status: 0 ended by a signal, 1 failed, 2 usage, 78 the configuration cannot be used.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    constexpr int usage = 2;
    return app.exit(error) == 0 ? 0 : usage;
  }
  return dualdeploy::daemon::run(config_file, control_socket);
}
