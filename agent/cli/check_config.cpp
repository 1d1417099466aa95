#include <boost/json.hpp>
#include <iostream>

#include "cli/commands.hpp"
#include "config/config.hpp"

namespace dualdeploy::cli {

namespace json = boost::json;

void add_check_config(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("check-config", "Check a configuration as the agent would; needs no agent");
  auto path = std::make_shared<std::string>(config::default_path);
  command->add_option("PATH", *path, "Main file; services.d is looked for beside it")->capture_default_str();
  command->callback([&context, path] {
    context.run = [&context, path] {
      const auto loaded = config::load(*path);
      if (context.json) {
        json::array problems;
        if (!loaded) {
          for (const config::Problem& problem : loaded.error()) {
            problems.push_back(json::object{{"file", problem.file.string()}, {"line", problem.line},
                                            {"column", problem.column}, {"message", problem.message}});
          }
        }
        print_json(json::object{{"ok", loaded.has_value()}, {"problems", std::move(problems)}});
      } else if (loaded) {
        std::cout << *path << ": " << loaded->services.size() << " service(s), no problems\n";
      } else {
        for (const config::Problem& problem : loaded.error()) std::cerr << config::describe(problem) << "\n";
        std::cerr << loaded.error().size() << " problem(s)\n";
      }
      return loaded ? 0 : static_cast<int>(ErrorCode::failed);
    };
  });
}

}  // namespace dualdeploy::cli
