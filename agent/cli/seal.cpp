#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <iostream>

#include "cli/commands.hpp"
#include "cli/seal_checks.hpp"
#include "cli/seal_wipe.hpp"
#include "config/config.hpp"
#include "state/manifest.hpp"
#include "traffic/rescue.hpp"
#include "workload/container_side.hpp"

namespace dualdeploy::cli {

namespace json = boost::json;

namespace {

struct Options {
  std::string timeout = "60s";
  bool check = false;
  bool dry_run = false;
  bool keep_authorized_keys = false;
};

/// The steps as they are done: lines for people, or one object for programs at the end.
class Account {
 public:
  explicit Account(const Context& context) : context_(context) {}
  void tell(const std::string& text) {
    steps_.emplace_back(text);
    if (!context_.json) std::cout << text << std::endl;
  }
  void trouble(const std::string& text) {
    troubles_.emplace_back(text);
    if (!context_.json) std::cerr << "dualctl: " << text << std::endl;
  }
  [[nodiscard]] bool troubled() const { return !troubles_.empty(); }
  int end(const std::string& state, ErrorCode if_troubled) {
    const int status = troubled() ? static_cast<int>(if_troubled) : 0;
    if (context_.json) print_json(json::object{{"state", state}, {"steps", std::move(steps_)}, {"problems", std::move(troubles_)}});
    return status;
  }

 private:
  const Context& context_;
  json::array steps_;
  json::array troubles_;
};

int refuse(Account& account, const Problems& problems) {
  for (const std::string& problem : problems) account.trouble(problem);
  if (!problems.empty()) account.trouble(std::to_string(problems.size()) + " problem(s): not sealed, and nothing was changed");
  return account.end(problems.empty() ? "checked" : "refused", ErrorCode::refused);
}

Expected<void> remove_container(const std::string& engine_socket, const std::string& name) {
  boost::asio::io_context loop;
  workload::EngineClient engine(loop.get_executor(), engine_socket);
  Expected<void> removed = fail("the engine was not asked");
  boost::asio::co_spawn(loop, engine.remove(name), [&removed](const std::exception_ptr& error, Expected<void> outcome) {
    if (!error) removed = std::move(outcome);
  });
  loop.run();
  return removed;
}

bool is_loaded(const std::string& unit) {
  return run_program({"systemctl", "show", "-p", "LoadState", "--value", unit}).line == "loaded" ||
         run_program({"systemctl", "show", "-p", "LoadState", unit}).line == "LoadState=loaded";  // systemd 219 knows no --value.
}

void stop_unit(const std::string& unit, Account& account) {
  if (!is_loaded(unit)) return;
  const Ran stopped = run_program({"systemctl", "stop", unit});
  if (stopped.status != 0) account.trouble(unit + " could not be stopped: " + stopped.line);
}

/// The agent and what it made, then the engine: nothing runs any more that would write what is wiped.
void stop_everything(const config::Config& config, Account& account) {
  for (const char* unit : {"dualdeployd.socket", "dualdeployd.service"}) stop_unit(unit, account);
  auto removed = traffic::remove_rules();
  if (!removed) account.trouble("the kernel rules could not be removed: " + removed.error().message);
  for (const config::Service& service : config.services) {
    const std::string container = workload::container_name(service.policy.name);
    if (auto gone = remove_container(config.agent.docker_socket, container); !gone) account.trouble(container + ": " + gone.error().message);
  }
  for (const char* unit : {"docker.socket", "docker.service"}) stop_unit(unit, account);
  account.tell("stopped: the agent (still enabled), its containers, the engine");
}

void wipe_all(const WipeOptions& options, Account& account) {
  std::size_t count = 0;
  for (const Leftover& leftover : find_leftovers(options)) {
    if (const std::string why = wipe(leftover); !why.empty()) {
      account.trouble(why);
    } else {
      ++count;
    }
  }
  account.tell("wiped: " + std::to_string(count) + " file(s) and directories of this one machine");
}

Problems check_all(const Context& context, const config::Config& config, Milliseconds timeout) {
  Problems problems = check_machine(config);
  for (std::string& problem : check_saved_rules()) problems.push_back(std::move(problem));
  auto of_services = check_services(context, config, timeout);
  if (!of_services) {
    problems.push_back(of_services.error().message);
  } else {
    for (std::string& problem : *of_services) problems.push_back(std::move(problem));
  }
  return problems;
}

int seal(const Context& context, const Options& options, Milliseconds timeout, const config::Config& config) {
  Account account(context);
  const WipeOptions what{.root = "/", .state_directory = config.agent.state_directory, .keep_authorized_keys = options.keep_authorized_keys};
  // What is checked is what lies there, and what the next boot will read.
  Problems problems = options.dry_run ? Problems{} : reload_agent(context);
  for (std::string& problem : check_all(context, config, timeout)) problems.push_back(std::move(problem));
  if (problems.empty()) account.tell("checked: configuration, units, packages, images, parity, health, routes");
  if (options.dry_run) {
    for (const Leftover& leftover : find_leftovers(what)) account.tell((leftover.emptied ? "would empty " : "would wipe ") + leftover.path.string());
    return refuse(account, problems);
  }
  if (!problems.empty()) return refuse(account, problems);
  for (const config::Service& service : config.services) {
    if (problems = flip_there_and_back(context, service.policy.name, timeout); !problems.empty()) return refuse(account, problems);
    account.tell(service.policy.name + ": flipped to the container and back");
  }
  auto manifest = take_stock(context, config);
  if (!manifest) return refuse(account, {manifest.error().message});
  if (auto written = state::write_manifest(config.agent.state_directory, *manifest); !written) return refuse(account, {written.error().message});
  account.tell("recorded: " + (config.agent.state_directory / state::manifest_name).string());
  stop_everything(config, account);
  wipe_all(what, account);
  if (account.troubled()) {
    account.trouble("NOT sealed: do not take an image of this machine before the above is mended and dualctl seal is run again");
    return account.end("failed", ErrorCode::failed);
  }
  account.tell("sealed: power it off and take the image");
  return account.end("sealed", ErrorCode::failed);
}

int check_against_manifest(const Context& context, const config::Config& config) {
  auto sealed = state::read_manifest(config.agent.state_directory);
  if (!sealed) return report(context, sealed.error());
  if (!*sealed) {
    return report(context, Error{ErrorCode::failed, (config.agent.state_directory / state::manifest_name).string() +
                                                        " is not there: this machine was not made of a sealed image"});
  }
  auto now = take_stock(context, config);
  if (!now) return report(context, now.error());
  const std::vector<std::string> lines = differences(**sealed, *now);
  if (context.json) {
    json::array array;
    for (const std::string& line : lines) array.emplace_back(line);
    print_json(json::object{{"sealed_at", (*sealed)->sealed_at}, {"differences", std::move(array)}});
  } else {
    for (const std::string& line : lines) std::cout << line << "\n";
    if (lines.empty()) std::cout << "as sealed at " << (*sealed)->sealed_at << "\n";
  }
  return lines.empty() ? 0 : static_cast<int>(ErrorCode::refused);
}

int run(const Context& context, const Options& options) {
  auto timeout = parse_duration(options.timeout);
  if (!timeout) return report(context, Error{ErrorCode::usage, "--timeout: " + timeout.error().message});
  if (::geteuid() != 0) return report(context, Error{ErrorCode::permission, "seal looks at and wipes what is root's"});
  auto loaded = config::load(config::default_path);
  if (!loaded) {
    Problems problems;
    for (const config::Problem& problem : loaded.error()) problems.push_back(config::describe(problem));
    Account account(context);
    return refuse(account, problems);
  }
  // Nothing can be said of the services without the agent.
  if (auto version = context.client().get("/v1/version"); !version) {
    return report(context, Error(version.error()).within("seal asks the agent, which has to run (systemctl start dualdeployd)"));
  }
  return options.check ? check_against_manifest(context, *loaded) : seal(context, options, *timeout, *loaded);
}

}  // namespace

void add_seal(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("seal", "Last step of an image build: check everything, record it, wipe what belongs to one machine");
  auto options = std::make_shared<Options>();
  auto* check = command->add_flag("--check", options->check, "Only say what a running instance differs in from its sealed image");
  command->add_flag("--dry-run", options->dry_run, "Check (without the flips) and list what would be wiped; change nothing")->excludes(check);
  command->add_flag("--keep-authorized-keys", options->keep_authorized_keys, "Leave it as it is who may log in");
  command->add_option("--timeout", options->timeout, "How long to wait for the sides to be healthy, and for each flip")->capture_default_str();
  command->footer("Exit status: 0 sealed, or as sealed; 3 refused and nothing changed, or (--check) different; 1 failed on the way.");
  command->callback([&context, options] { context.run = [&context, options] { return run(context, *options); }; });
}

}  // namespace dualdeploy::cli
