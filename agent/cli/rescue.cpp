#include <pwd.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <iostream>

#include "cli/commands.hpp"
#include "config/config.hpp"
#include "state/rescue.hpp"
#include "traffic/rescue.hpp"

namespace dualdeploy::cli {

namespace json = boost::json;

namespace {

Actor caller() {
  const passwd* entry = ::getpwuid(::getuid());
  return Actor{static_cast<std::int64_t>(::getuid()), ::getpid(), entry != nullptr ? entry->pw_name : "root"};
}

std::filesystem::path state_directory() {
  const auto loaded = config::load(config::default_path);
  return loaded ? loaded->agent.state_directory : config::Agent{}.state_directory;
}

int rescue(const Context& context, const std::string& because) {
  if (::geteuid() != 0) {
    return report(context, Error{ErrorCode::permission, "rescue changes kernel rules and needs root; by hand, as root: "
                                                        "nft delete table inet dualdeploy"});
  }
  json::array steps;
  const auto tell = [&](const std::string& text) {
    steps.emplace_back(text);
    if (!context.json) std::cout << text << "\n";
  };
  constexpr Milliseconds patience{3'000};
  auto agent = context.client().post("/v1/rescue", json::object{{"reason", because}}, patience);
  tell(agent ? "agent: every route is the RPM" : "agent: " + agent.error().message);
  // Whatever the agent said: the kernel is asked directly.
  auto removed = traffic::remove_rules();
  tell(removed ? "kernel: " + *removed : "kernel: " + removed.error().message);
  // An agent that answered, even with an error, looks after its own state.
  const bool nobody_there =
      !agent && (agent.error().code == ErrorCode::unreachable || agent.error().code == ErrorCode::timed_out);
  if (nobody_there) {
    auto forgotten = state::forget_routes(state_directory(), because, caller());
    tell(forgotten ? "saved state: " + *forgotten : "saved state: WARNING: " + forgotten.error().message);
  }
  if (context.json) print_json(json::object{{"done", removed.has_value()}, {"steps", std::move(steps)}});
  if (!removed) return report(context, Error(removed.error()).within("the kernel rules could not be removed"));
  return 0;
}

}  // namespace

void add_rescue(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("rescue", "Everything back to the RPM and our kernel rules gone; needs root, but no agent");
  auto because = std::make_shared<std::string>("rescue by hand");
  command->add_option("--because,--reason", *because, "Why, for the history")->capture_default_str();
  command->callback([&context, because] { context.run = [&context, because] { return rescue(context, *because); }; });
}

}  // namespace dualdeploy::cli
