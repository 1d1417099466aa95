#include <boost/json.hpp>
#include <iostream>
#include <sstream>

#include "cli/commands.hpp"

namespace dualdeploy::cli {

namespace json = boost::json;

namespace {

struct Options {
  std::string service;
  std::string side;
  std::string reason;
  std::string timeout = "30s";
  std::string confirm_within;
  std::string testers;
  int percent = 100;
  bool sticky = false;
  bool force = false;
  bool wait = false;
  bool dry_run = false;
};

/// A before-hook may take so long (its greatest configurable timeout), and the agent some seconds. An agent that hangs is
/// ended by its watchdog much earlier, which ends the call too.
constexpr Milliseconds answer_allowance{615'000};

json::object body_of(const Options& options) {
  json::object body{{"to", options.side},       {"percent", options.percent}, {"sticky", options.sticky},
                    {"reason", options.reason}, {"force", options.force},     {"wait", options.wait},
                    {"timeout", options.timeout}, {"dry_run", options.dry_run}};
  if (!options.confirm_within.empty()) body["confirm_within"] = options.confirm_within;
  json::array testers;
  std::istringstream list(options.testers);
  for (std::string network; std::getline(list, network, ',');) {
    if (!network.empty()) testers.emplace_back(network);
  }
  if (!testers.empty()) body["testers"] = std::move(testers);
  return body;
}

int run_flip(const Context& context, const Options& options) {
  auto timeout = parse_duration(options.timeout);
  if (!timeout) return report(context, Error{ErrorCode::usage, "--timeout: " + timeout.error().message});
  auto answer = context.client().post("/v1/services/" + options.service + "/flip", body_of(options), *timeout + answer_allowance);
  if (!answer) return report(context, answer.error());
  if (context.json || !answer->is_object()) {
    print_json(*answer);
  } else if (options.dry_run) {
    std::cout << print_dry_run(answer->get_object(), context.style);
  } else {
    std::cout << print_change(options.service, answer->get_object());
  }
  const json::value* possible = answer->is_object() ? answer->get_object().if_contains("would_be_done") : nullptr;
  return possible != nullptr && possible->is_bool() && !possible->get_bool() ? static_cast<int>(ErrorCode::refused) : 0;
}

}  // namespace

void add_flip(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("flip", "Send a service's new connections to one of its sides; open ones stay where they are");
  auto options = std::make_shared<Options>();
  command->add_option("SERVICE", options->service, "The service")->required()->check(service_name());
  command->add_option("SIDE", options->side, "container or rpm")->required()->check(CLI::IsMember({"container", "rpm"}));
  command->add_option("--percent", options->percent, "Only this share of the new connections goes to SIDE, the rest to the other")
      ->capture_default_str()
      ->check(CLI::Range(0, 100));
  command->add_flag("--sticky", options->sticky, "The share is one of clients, by address: each client stays on one side");
  command->add_option("--testers", options->testers,
                      "Networks that always get the container, for example 10.1.0.0/16,2001:db8::/32. A flip states the "
                      "whole route: testers that are not named again are testers no more");
  command->add_option("--confirm-within", options->confirm_within,
                      "Go back by itself unless 'dualctl confirm SERVICE' comes within this time, for example 5m");
  command->add_option("--reason", options->reason, "Why, for the history");
  command->add_flag("--force", options->force,
                    "Past the parity guard, and to a side that has not passed a check yet (never from a healthy side to a sick one)");
  command->add_flag("--dry-run", options->dry_run, "Change nothing; print the guards' verdicts and the kernel transaction");
  command->add_flag("--wait", options->wait, "Wait for the side to become healthy instead of being refused");
  command->add_option("--timeout", options->timeout, "How long to wait, for example 500ms, 30s, 5m")->capture_default_str();
  command->callback([&context, options] { context.run = [&context, options] { return run_flip(context, *options); }; });
}

}  // namespace dualdeploy::cli
