#include <boost/json.hpp>
#include <iostream>

#include "cli/commands.hpp"

namespace dualdeploy::cli {

namespace json = boost::json;

namespace {

struct Options {
  std::string reason;
  bool wait = false;
  bool stopping = false;
};

/// Longer than the longest `health.leave_for`: the agent answers when it is over.
constexpr Milliseconds patience{std::chrono::minutes(11)};

int post(const Context& context, const std::string& path, const json::object& body) {
  auto answer = context.client().post(path, body, patience);
  if (!answer) return report(context, answer.error());
  if (context.json || !answer->is_object()) {
    print_json(*answer);
  } else {
    std::cout << json::value_to<std::string>(answer->get_object().at("message")) << "\n";
  }
  return 0;
}

}  // namespace

void add_leave(CLI::App& app, Context& context) {
  auto* leave = app.add_subcommand("leave", "Tell load balancers to leave this instance: /healthz fails until join; traffic is not touched");
  auto options = std::make_shared<Options>();
  leave->add_flag("--wait", options->wait, "Return once they have had the time for it (health.leave_for)");
  leave->add_flag("--stopping", options->stopping, "Because the instance stops: forgotten with this run of the agent");
  leave->add_option("--reason", options->reason, "Why, for the history");
  leave->callback([&context, options] {
    context.run = [&context, options] {
      return post(context, "/v1/leave", json::object{{"reason", options->reason}, {"wait", options->wait}, {"stopping", options->stopping}});
    };
  });
  auto* join = app.add_subcommand("join", "Let load balancers come back after leave");
  join->add_option("--reason", options->reason, "Why, for the history");
  join->callback([&context, options] {
    context.run = [&context, options] { return post(context, "/v1/join", json::object{{"reason", options->reason}}); };
  });
}

}  // namespace dualdeploy::cli
