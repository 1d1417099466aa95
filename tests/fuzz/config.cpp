#include <algorithm>

#include "config/parse.hpp"
#include "fuzz.hpp"

/// agent.yaml and the files of services.d, each but the last ended by a line "%%%".
namespace dualdeploy::config {
namespace {

using fuzz::require;

void check(const Problem& problem, const std::vector<Source>& sources) {
  const std::string text = describe(problem);
  const auto source = std::ranges::find(sources, problem.file, &Source::file);
  require(source != sources.end(), "a problem is one of a file", text);
  require(!problem.message.empty() && problem.message.find('\n') == std::string::npos, "a problem is one line", text);
  if (problem.line == 0) {
    require(problem.column == 0, "no column without a line", text);
    // What concerns the whole file can have no place in it; everything else has one.
    const bool of_whole_file = problem.message.starts_with("empty; ") || problem.message.starts_with("more than 100 ");
    require(of_whole_file, "a problem has a place", text);
    return;
  }
  const auto lines = std::ranges::count(*source->text, '\n') + 1;
  require(problem.line > 0 && problem.line <= lines + 1 && problem.column > 0, "the place is in the file", text);
}

void check(const Port& port, Strategy strategy) {
  require(port.front != 0 && port.rpm != 0 && port.container != 0, "every port has a number");
  if (strategy == Strategy::redirect) require(port.container != port.rpm && port.container != port.front, "a redirect leads elsewhere");
}

void check(const Check& check) {
  require(check.interval >= Milliseconds{100} && check.timeout >= Milliseconds{10}, "checks take time");
  if (const auto* exec = std::get_if<ExecCheck>(&check.probe)) require(!exec->command.empty(), "there is a command");
}

void check(const Service& service) {
  require(!service.policy.name.empty() && !service.ports.empty(), "a service has a name and ports");
  require(!service.rpm.unit.empty() && !service.container.image.empty(), "a service has both sides");
  for (const Port& port : service.ports) check(port, service.policy.strategy);
  for (const Check& side : {service.rpm.check, service.container.check}) check(side);
}

}  // namespace
}  // namespace dualdeploy::config

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dualdeploy;
  std::string_view rest = fuzz::as_text(data, size);
  std::vector<config::Source> sources{{"agent.yaml", std::string(fuzz::take_until(rest, "%%%\n"))}};
  while (!rest.empty() && sources.size() < 4) {
    const std::string name = "services.d/service-" + std::to_string(sources.size()) + ".yaml";
    sources.push_back({name, std::string(fuzz::take_until(rest, "%%%\n"))});
  }
  const std::vector<config::Source> services(sources.begin() + 1, sources.end());
  const auto parsed = config::parse(sources.front(), services);
  if (parsed) {
    fuzz::require(parsed->services.size() == services.size(), "every file is a service");
    fuzz::require(parsed->agent.lease >= Milliseconds{3'000}, "the lease has a length");
    for (const config::Service& service : parsed->services) config::check(service);
  } else {
    fuzz::require(!parsed.error().empty(), "a refusal has a reason");
    for (const config::Problem& problem : parsed.error()) config::check(problem, sources);
  }
  return 0;
}
