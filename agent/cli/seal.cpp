#include <unistd.h>

#include <boost/json.hpp>
#include <csignal>
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

/// Longer than a unit's own default to stop (90 s).
constexpr Milliseconds stop_deadline{120'000};
/// What the agent takes for a flip.
constexpr Milliseconds longest_timeout{std::chrono::hours(1)};

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
  /// Prints the object, and gives the exit status.
  int end(const std::string& state, const std::string& conclusion, ErrorCode if_troubled) {
    const int status = troubled() ? static_cast<int>(if_troubled) : 0;
    if (context_.json) {
      print_json(json::object{{"state", state},
                              {"exit", status},
                              {"message", conclusion},
                              {"steps", std::move(steps_)},
                              {"problems", std::move(troubles_)}});
    } else if (!conclusion.empty()) {
      (status == 0 ? std::cout : std::cerr << "dualctl: ") << conclusion << std::endl;
    }
    return status;
  }

 private:
  const Context& context_;
  json::array steps_;
  json::array troubles_;
};

int refuse(Account& account, const Problems& problems) {
  for (const std::string& problem : problems) account.trouble(problem);
  return account.end("refused", std::to_string(problems.size()) + " problem(s): not sealed, and nothing was changed",
                     ErrorCode::refused);
}

bool stop_unit(const std::string& unit, Account& account) {
  // By its line: systemd 219 knows no --value.
  const auto loaded = run_program({"systemctl", "show", "-p", "LoadState", unit});
  if (loaded && first_line(*loaded) != "LoadState=loaded") return true;
  const auto stopped = run_program({"systemctl", "stop", unit}, stop_deadline);
  if (stopped && stopped->exit_status == 0) return true;
  account.trouble(unit + " could not be stopped: " + (stopped ? first_line(*stopped) : stopped.error().message));
  return false;
}

/// The agent and what it made, then the engine.
void stop_everything(const config::Config& config, Account& account) {
  bool stopped = true;
  for (const char* unit : {"dualdeployd.socket", "dualdeployd.service"}) stopped = stop_unit(unit, account) && stopped;
  // It would make again what is removed, and write what is wiped.
  if (!stopped) return;
  if (auto removed = traffic::remove_rules(); !removed)
    account.trouble("the kernel rules could not be removed: " + removed.error().message);
  BlockingEngine engine(config.agent.docker_socket);
  for (const config::Service& service : config.services) {
    const std::string container = workload::container_name(service.policy.name);
    auto removed = engine.remove(container, service.container.stop_timeout);
    if (!removed) account.trouble("the container " + container + " could not be removed: " + removed.error().message);
  }
  for (const char* unit : {"docker.socket", "docker.service"}) stop_unit(unit, account);
  if (!account.troubled()) account.tell("stopped: the agent (still enabled), its containers, Docker");
}

/// What would come back at the shutdown: the seed is saved then, and the journal goes on.
void silence_writers() {
  // Not every version has the unit, or the option; without them less is clean, and nothing is wrong.
  (void)run_program({"systemctl", "stop", "systemd-random-seed.service"});
  (void)run_program({"journalctl", "--relinquish-var"});
}

void wipe_all(const WipeOptions& options, Account& account) {
  silence_writers();
  std::size_t count = 0;
  for (const Leftover& leftover : find_leftovers(options)) {
    if (const std::string why = wipe(leftover); !why.empty()) {
      account.trouble("could not be wiped: " + why);
    } else {
      ++count;
    }
  }
  ::sync();  // The image may be taken of a disk that nobody unmounts.
  account.tell("wiped: " + std::to_string(count) + " files and directories that belong to one machine");
}

/// A configuration with problems is no reason to keep quiet about the others.
Problems check_all(const Context& context, const std::expected<config::Config, std::vector<config::Problem>>& loaded,
                   const WipeOptions& what, bool reload, Milliseconds timeout) {
  Problems problems;
  const auto add = [&problems](Problems more) { problems.insert(problems.end(), more.begin(), more.end()); };
  if (loaded) {
    add(check_machine(*loaded));
  } else {
    for (const config::Problem& problem : loaded.error()) problems.push_back(config::describe(problem));
  }
  add(check_saved_rules());
  add(out_of_reach(what));
  // What is checked is what lies there, and what the next boot will read.
  if (loaded && reload) add(reload_agent(context));
  add(check_routes(context));
  if (loaded) add(check_services(context, *loaded, timeout));
  return problems;
}

void preview(const WipeOptions& what, Account& account) {
  account.tell("would flip each service to the container and back, and write " +
               (what.state_directory / state::manifest_name).string());
  account.tell("would stop dualdeployd.socket, dualdeployd.service, the containers, docker.socket, docker.service");
  for (const Leftover& leftover : find_leftovers(what)) {
    account.tell((leftover.emptied ? "would empty " : "would wipe ") + leftover.path.string());
  }
}

/// Proved, and written down. Nothing has been stopped or wiped when it refuses.
Problems prove_and_record(const Context& context, const config::Config& config, Milliseconds timeout,
                          Account& account) {
  for (const config::Service& service : config.services) {
    if (Problems problems = flip_there_and_back(context, service.policy.name, timeout); !problems.empty())
      return problems;
    account.tell(service.policy.name + ": flipped to the container and back");
  }
  auto manifest = take_stock(context, config);
  if (!manifest) return {manifest.error().message};
  auto written = state::write_manifest(config.agent.state_directory, *manifest);
  if (!written) return {written.error().message};
  account.tell("recorded: " + (config.agent.state_directory / state::manifest_name).string());
  return {};
}

int seal(const Context& context, const Options& options, Milliseconds timeout) {
  (void)std::signal(SIGPIPE, SIG_IGN);  // What was begun goes to its end, whoever still listens.
  const auto loaded = config::load(config::default_path);
  if (auto version = context.client().get("/v1/version"); !version) {
    const std::string hint = loaded ? ""
                                    : "; the configuration has " + std::to_string(loaded.error().size()) +
                                          " problem(s): dualctl check-config";
    return report(
        context, Error{ErrorCode::unreachable, "seal asks the agent, which has to run (systemctl start dualdeployd): " +
                                                   version.error().message + hint});
  }
  Account account(context);
  const WipeOptions what{.state_directory = loaded ? loaded->agent.state_directory : config::Agent{}.state_directory,
                         .keep_authorized_keys = options.keep_authorized_keys,
                         .homes = home_directories()};
  Problems problems = check_all(context, loaded, what, !options.dry_run, timeout);
  if (problems.empty())
    account.tell("checked: configuration, units, packages, images, parity, health, routes, saved rules");
  if (options.dry_run) preview(what, account);
  if (!problems.empty()) return refuse(account, problems);
  if (options.dry_run) return account.end("checked", "nothing was changed", ErrorCode::failed);
  problems = prove_and_record(context, *loaded, timeout, account);
  if (!problems.empty()) return refuse(account, problems);
  stop_everything(*loaded, account);
  if (!account.troubled()) wipe_all(what, account);
  if (account.troubled()) {
    return account.end(
        "failed",
        "NOT sealed: take no image of this machine before that is mended, the agent started and dualctl seal run again",
        ErrorCode::failed);
  }
  return account.end("sealed", "sealed: power it off and take the image", ErrorCode::failed);
}

int check_against_manifest(const Context& context) {
  const auto loaded = config::load(config::default_path);
  if (!loaded) {
    return report(context, Error{ErrorCode::failed, "the configuration has " + std::to_string(loaded.error().size()) +
                                                        " problem(s), nothing can be compared: dualctl check-config"});
  }
  auto sealed = state::read_manifest(loaded->agent.state_directory);
  if (!sealed) return report(context, sealed.error());
  if (!*sealed) {
    return report(context, Error{ErrorCode::failed, (loaded->agent.state_directory / state::manifest_name).string() +
                                                        " is not there: this machine was not made of a sealed image"});
  }
  auto now = take_stock(context, *loaded);
  if (!now) return report(context, now.error());
  const std::vector<std::string> lines = differences(**sealed, *now);
  if (context.json) {
    json::array array;
    for (const std::string& line : lines) array.emplace_back(line);
    print_json(json::object{{"sealed_at", (*sealed)->sealed_at}, {"differences", std::move(array)}});
  } else {
    for (const std::string& line : lines) std::cout << line << "\n";
    if (lines.empty()) std::cout << "as sealed on " << (*sealed)->sealed_at << "\n";
  }
  return lines.empty() ? 0 : static_cast<int>(ErrorCode::refused);
}

int run(const Context& context, const Options& options) {
  auto timeout = parse_duration(options.timeout);
  if (timeout && *timeout > longest_timeout)
    timeout = fail(ErrorCode::usage, "at most " + format_duration(longest_timeout));
  if (!timeout) return report(context, Error{ErrorCode::usage, "--timeout: " + timeout.error().message});
  if (::geteuid() != 0)
    return report(context, Error{ErrorCode::permission, "seal looks at and wipes what is root's: sudo dualctl seal"});
  return options.check ? check_against_manifest(context) : seal(context, options, *timeout);
}

}  // namespace

void add_seal(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand(
      "seal", "Last step of an image build: check everything, record it, wipe what belongs to one machine");
  auto options = std::make_shared<Options>();
  auto* check =
      command->add_flag("--check", options->check, "Only say what a running instance differs in from its sealed image");
  command
      ->add_flag("--dry-run", options->dry_run,
                 "Check (without the flips) and list what would be wiped; change nothing")
      ->excludes(check);
  command->add_flag("--keep-authorized-keys", options->keep_authorized_keys, "Leave it as it is who may log in")
      ->excludes(check);
  command
      ->add_option("--timeout", options->timeout,
                   "How long to wait for the sides to be healthy, and for each flip (at most 1h)")
      ->capture_default_str();
  command->footer(
      "Exit status: 0 sealed, or as sealed; 3 refused and nothing changed, or (--check) different; 1 failed on the "
      "way.");
  command->callback([&context, options] { context.run = [&context, options] { return run(context, *options); }; });
}

}  // namespace dualdeploy::cli
