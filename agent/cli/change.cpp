#include <boost/json.hpp>
#include <iostream>

#include "cli/commands.hpp"

namespace dualdeploy::cli {

namespace json = boost::json;

namespace {

struct Options {
  std::string service;
  std::string reason;
};

/// Longer than the agent's own deadlines: its answer says more than our giving up.
constexpr Milliseconds answer_allowance{15'000};

int post(const Context& context, const std::string& verb, const Options& options, const json::object& body) {
  auto answer = context.client().post("/v1/services/" + options.service + "/" + verb, body, answer_allowance);
  if (!answer) return report(context, answer.error());
  if (context.json || !answer->is_object()) {
    print_json(*answer);
    return 0;
  }
  std::cout << print_change(options.service, answer->get_object());
  return 0;
}

void add_simple(CLI::App& app, Context& context, const std::string& verb, const std::string& about, bool reason_required) {
  auto* command = app.add_subcommand(verb, about);
  auto options = std::make_shared<Options>();
  command->add_option("SERVICE", options->service, "The service")->required()->check(service_name());
  auto* reason = command->add_option("--reason", options->reason, "Why, for the history and for whoever finds it");
  if (reason_required) reason->required();
  command->callback([&context, options, verb] {
    context.run = [&context, options, verb] {
      return post(context, verb, *options, json::object{{"reason", options->reason}});
    };
  });
}

}  // namespace

void add_changes(CLI::App& app, Context& context) {
  add_simple(app, context, "confirm", "Keep a flip that was made with --confirm-within", false);
  add_simple(app, context, "revert", "Everything of a service back to the RPM, now: no guard, no hold, no waiting", false);
  add_simple(app, context, "hold", "Lock a service's route until it is released (the automatic revert still works)", true);
  add_simple(app, context, "release", "Lift a hold", false);
}

}  // namespace dualdeploy::cli
