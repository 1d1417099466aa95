#include <boost/json.hpp>
#include <iostream>

#include "cli/commands.hpp"

namespace dualdeploy::cli {

namespace json = boost::json;

namespace {
struct Options {
  std::string service;
  int count = 20;
  bool all = false;
  bool follow = false;
};

std::string query_of(const Options& options, const std::string& count_name) {
  std::string query = "?" + count_name + "=" + std::to_string(options.count);
  if (!options.service.empty()) query += "&service=" + options.service;
  return query;
}
}  // namespace

void add_history(CLI::App& app, Context& context) {
  constexpr int most = 5'000;
  auto* history = app.add_subcommand("history", "What was changed, by whom, why, and how it went");
  auto options = std::make_shared<Options>();
  history->add_option("SERVICE", options->service, "Only this one")->check(service_name());
  history->add_option("-n,--lines", options->count, "The newest N records")->capture_default_str()->check(CLI::Range(1, most));
  history->add_flag("--all", options->all, "Also health, process and configuration events");
  history->callback([&context, options] {
    context.run = [&context, options] {
      auto answer = context.client().get("/v1/history" + query_of(*options, "limit") + (options->all ? "&all=1" : ""));
      if (!answer) return report(context, answer.error());
      if (context.json || !answer->is_array()) {
        print_json(*answer);
        return 0;
      }
      for (const json::value& record : answer->get_array()) {
        if (record.is_object()) std::cout << print_record(record.get_object(), context.style) << "\n";
      }
      if (answer->get_array().empty()) std::cout << "nothing yet\n";
      return 0;
    };
  });

  auto* events = app.add_subcommand("events", "Everything that happens, as it happens with --follow");
  auto event_options = std::make_shared<Options>();
  event_options->count = 10;
  events->add_flag("-f,--follow", event_options->follow, "Go on until interrupted");
  events->add_option("--service", event_options->service, "Only this one")->check(service_name());
  events->add_option("-n,--lines", event_options->count, "The newest N events first")->capture_default_str()->check(CLI::Range(0, most));
  events->callback([&context, options = event_options] {
    context.run = [&context, options] {
      const std::string target = "/v1/events" + query_of(*options, "last") + (options->follow ? "&follow=1" : "");
      auto ended = context.client().events(target, options->follow, [&context](const json::object& event) {
        if (context.json) {
          print_json(event);
        } else {
          std::cout << print_record(event, context.style) << std::endl;
        }
        return true;
      });
      return ended ? 0 : report(context, ended.error());
    };
  });
}

}  // namespace dualdeploy::cli
