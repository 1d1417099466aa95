#include "cli/commands.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <iostream>

#include "core/printable.hpp"
#include "daemon/version.hpp"

namespace dualdeploy::cli {

namespace json = boost::json;

int report(const Context& context, const Error& error) {
  if (context.json) {
    print_json(json::object{{"error", json::object{{"code", name_of(error.code)},
                                                   {"exit", static_cast<int>(error.code)},
                                                   {"message", error.message}}}});
  }
  std::cerr << "dualctl: " << printable(error.message) << "\n";
  return static_cast<int>(error.code);
}

CLI::Validator service_name() {
  return CLI::Validator(
      [](std::string& text) {
        const auto plain = [](char c) {
          return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        };
        if (!text.empty() && std::ranges::all_of(text, plain)) return std::string();
        return "'" + text + "' is no service's name; expected lower-case letters, digits and '-'";
      },
      "", "service name");
}

void print_json(const json::value& value) { std::cout << json::serialize(value) << std::endl; }

void add_status(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("status", "How the services are: route, health, processes, alarms");
  auto service = std::make_shared<std::string>();
  command->add_option("SERVICE", *service, "Only this one, in detail")->check(service_name());
  command->callback([&context, service] {
    context.run = [&context, service] {
      auto answer = context.client().get(service->empty() ? "/v1/status" : "/v1/services/" + *service);
      if (!answer) return report(context, answer.error());
      if (context.json || !answer->is_object()) {
        print_json(*answer);
      } else if (service->empty()) {
        std::cout << print_status(answer->get_object(), context.style);
      } else {
        std::cout << print_service(answer->get_object(), true, context.style);
      }
      return 0;
    };
  });
}

void add_version(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("version", "Versions of dualctl and of the agent that runs");
  command->callback([&context] {
    context.run = [&context] {
      auto agent = context.client().get("/v1/version");
      if (context.json) {
        json::object versions{{"dualctl", daemon::version_text}, {"revision", daemon::revision_text}, {"agent", nullptr}};
        if (agent) versions["agent"] = *agent;
        print_json(versions);
        return 0;
      }
      std::cout << "dualctl " << daemon::version_text << " (" << daemon::revision_text << ")\n";
      if (agent && agent->is_object()) {
        std::cout << "dualdeployd " << std::string_view(agent->get_object().at("version").as_string()) << " ("
                  << std::string_view(agent->get_object().at("revision").as_string()) << ")\n";
      } else if (!agent) {
        std::cout << "dualdeployd: " << agent.error().message << "\n";
      }
      return 0;
    };
  });
}

}  // namespace dualdeploy::cli
