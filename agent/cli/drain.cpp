#include <boost/json.hpp>
#include <iostream>

#include "cli/commands.hpp"

namespace dualdeploy::cli {

namespace json = boost::json;

namespace {

struct Options {
  std::string service;
  std::string timeout = "5m";
  bool wait = false;
};

int run_drain(const Context& context, const Options& options) {
  constexpr Milliseconds answer_allowance{15'000};
  auto timeout = parse_duration(options.timeout);
  if (!timeout) return report(context, Error{ErrorCode::usage, "--timeout: " + timeout.error().message});
  const std::string query = options.wait ? "?wait=" + options.timeout : "";
  auto answer = context.client().get("/v1/services/" + options.service + "/drain" + query, *timeout + answer_allowance);
  if (!answer) return report(context, answer.error());
  if (context.json || !answer->is_object()) {
    print_json(*answer);
  } else {
    std::cout << print_drain(answer->get_object());
  }
  return 0;
}

}  // namespace

void add_drain(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("drain", "How many connections are left on the side that gets no new ones");
  auto options = std::make_shared<Options>();
  command->add_option("SERVICE", options->service, "The service")->required()->check(service_name());
  command->add_flag("--wait", options->wait, "Wait until the last has ended");
  command->add_option("--timeout", options->timeout, "How long to wait, for example 30s, 5m")->capture_default_str();
  command->callback([&context, options] { context.run = [&context, options] { return run_drain(context, *options); }; });
}

}  // namespace dualdeploy::cli
