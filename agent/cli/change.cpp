#include <boost/json.hpp>
#include <iostream>

#include "cli/commands.hpp"

namespace dualdeploy::cli {

namespace json = boost::json;

namespace {

struct Options {
  std::string service;
  std::string side;
  std::string reason;
  std::string timeout = "30s";
  bool force = false;
  bool wait = false;
};

/// Longer than the agent's own deadlines: its answer says more than our giving up.
constexpr Milliseconds answer_allowance{15'000};

int post(const Context& context, const std::string& verb, const Options& options, const json::object& body, Milliseconds timeout) {
  auto answer = context.client().post("/v1/services/" + options.service + "/" + verb, body, timeout + answer_allowance);
  if (!answer) return report(context, answer.error());
  if (context.json || !answer->is_object()) {
    print_json(*answer);
    return 0;
  }
  const json::object& details = answer->get_object();
  const json::value* message = details.if_contains("message");
  const json::value* duration = details.if_contains("duration_ms");
  std::cout << options.service << ": " << (message != nullptr && message->is_string() ? std::string_view(message->get_string()) : "done");
  if (duration != nullptr && duration->is_int64() && duration->get_int64() > 0) std::cout << " (" << duration->get_int64() << " ms)";
  std::cout << "\n";
  return 0;
}

void add_flip(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("flip", "Send a service's new connections to one of its sides; open ones stay where they are");
  auto options = std::make_shared<Options>();
  command->add_option("SERVICE", options->service, "The service")->required()->check(service_name());
  command->add_option("SIDE", options->side, "container or rpm")->required()->check(CLI::IsMember({"container", "rpm"}));
  command->add_option("--reason", options->reason, "Why, for the history");
  command->add_flag("--force", options->force, "Also to a side that has not passed a check yet (never from a healthy side to a sick one)");
  command->add_flag("--wait", options->wait, "Wait for the side to become healthy instead of being refused");
  command->add_option("--timeout", options->timeout, "How long to wait, for example 500ms, 30s, 5m")->capture_default_str();
  command->callback([&context, options] {
    context.run = [&context, options] {
      auto timeout = parse_duration(options->timeout);
      if (!timeout) return report(context, Error{ErrorCode::usage, "--timeout: " + timeout.error().message});
      const json::object body{{"to", options->side}, {"reason", options->reason}, {"force", options->force},
                              {"wait", options->wait}, {"timeout", options->timeout}};
      return post(context, "flip", *options, body, *timeout);
    };
  });
}

void add_simple(CLI::App& app, Context& context, const std::string& verb, const std::string& about, bool reason_required) {
  auto* command = app.add_subcommand(verb, about);
  auto options = std::make_shared<Options>();
  command->add_option("SERVICE", options->service, "The service")->required()->check(service_name());
  auto* reason = command->add_option("--reason", options->reason, "Why, for the history and for whoever finds it");
  if (reason_required) reason->required();
  command->callback([&context, options, verb] {
    context.run = [&context, options, verb] {
      return post(context, verb, *options, json::object{{"reason", options->reason}}, answer_allowance);
    };
  });
}

}  // namespace

void add_changes(CLI::App& app, Context& context) {
  add_flip(app, context);
  add_simple(app, context, "revert", "Everything of a service back to the RPM, now: no guard, no hold, no waiting", false);
  add_simple(app, context, "hold", "Lock a service's route until it is released (the automatic revert still works)", true);
  add_simple(app, context, "release", "Lift a hold", false);
}

}  // namespace dualdeploy::cli
