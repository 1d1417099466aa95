#include "cli/seal_stock.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/json.hpp>
#include <exception>

#include "daemon/version.hpp"
#include "host/text.hpp"
#include "host/wall_clock.hpp"

namespace dualdeploy::cli {

namespace asio = boost::asio;
using workload::EngineClient;

namespace {

template <class T>
Expected<T> run_to_end(asio::io_context& loop, asio::awaitable<Expected<T>> task) {
  Expected<T> outcome = fail("it ended without an answer");
  asio::co_spawn(loop, std::move(task), [&outcome](const std::exception_ptr& error, Expected<T> result) {
    if (!error) outcome = std::move(result);
  });
  loop.restart();
  loop.run();
  return outcome;
}

/// The configured command's first line instead of the package's tag, as the agent takes it.
Expected<std::string> revision_of(const config::RpmSide& rpm, const Package& package) {
  if (rpm.revision.empty()) return package.revision;
  auto result = run_program(rpm.revision);
  if (!result) return std::unexpected(std::move(result.error()).within("the rpm side's revision"));
  return result->exit_status == 0 ? host::first_line(result->output) : std::string();
}

Expected<state::Manifest::Service> stock_of(const config::Service& service, BlockingEngine& engine) {
  Package package;
  if (!service.rpm.package.empty()) {
    auto installed = installed_package(service.rpm.package);
    if (!installed) return std::unexpected(installed.error());
    package = *installed;
  }
  auto revision = revision_of(service.rpm, package);
  if (!revision) return std::unexpected(revision.error());
  auto image = engine.image(service.container.image);
  if (!image) return std::unexpected(image.error());
  state::Manifest::Service stock{package.name, *revision, service.container.image, {}, {}};
  if (*image) {
    stock.image_id = (*image)->id;
    stock.image_revision = (*image)->revision;
  }
  return stock;
}

}  // namespace

BlockingEngine::BlockingEngine(const std::string& socket) : client_(loop_.get_executor(), socket) {}

Expected<std::optional<EngineClient::Image>> BlockingEngine::image(const std::string& name) {
  return run_to_end(loop_, client_.inspect_image(name));
}
Expected<std::optional<EngineClient::Container>> BlockingEngine::container(const std::string& name) {
  return run_to_end(loop_, client_.inspect_container(name));
}
Expected<void> BlockingEngine::remove(const std::string& name, Milliseconds grace) {
  auto found = container(name);
  if (!found) return std::unexpected(found.error());
  if (!*found) return {};
  if ((*found)->running) {
    if (auto stopped = run_to_end(loop_, client_.stop(name, grace)); !stopped) return stopped;
  }
  return run_to_end(loop_, client_.remove(name));
}

Expected<host::CommandResult> run_program(std::vector<std::string> argv, Milliseconds deadline) {
  asio::io_context loop(1);
  host::Command command;
  command.argv = std::move(argv);
  host::CommandLimits limits;
  limits.deadline = deadline;
  return run_to_end(loop, host::run_command(std::move(command), limits));
}

std::string first_line(const host::CommandResult& result) {
  return host::first_line(result.output.empty() ? result.error : result.output);
}

Expected<Package> installed_package(const std::string& name) {
  auto result = run_program({"rpm", "-q", "--qf", "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}\n%{VCS}\n", name});
  if (!result) return std::unexpected(std::move(result.error()).within("rpm -q " + name));
  if (result->exit_status != 0) {
    if (result->output.contains("is not installed")) return Package{};
    return fail("rpm -q " + name + ": " + first_line(*result));
  }
  const std::size_t end = result->output.find('\n');
  std::string tag = end == std::string::npos ? "" : result->output.substr(end + 1);
  if (tag.find('\n') + 1 != tag.size()) return fail("rpm -q " + name + ": more than one of that name is installed");
  tag.pop_back();
  return Package{result->output.substr(0, end), tag == "(none)" ? "" : tag};
}

Expected<state::Manifest> take_stock(const Context& context, const config::Config& config) {
  state::Manifest manifest{host::format_utc(host::wall_unix_ms()),
                           std::string(daemon::version_text),
                           std::string(daemon::revision_text),
                           {}};
  // An agent that does not run is as new as this program, which comes in the same package.
  if (const auto agent = context.client().get("/v1/version"); agent && agent->is_object()) {
    manifest.version = host::text_of(agent->as_object(), "version");
    manifest.revision = host::text_of(agent->as_object(), "revision");
  }
  BlockingEngine engine(config.agent.docker_socket);
  for (const config::Service& service : config.services) {
    auto stock = stock_of(service, engine);
    if (!stock) return fail(service.policy.name + ": " + stock.error().message);
    manifest.services[service.policy.name] = std::move(*stock);
  }
  return manifest;
}

std::vector<std::string> differences(const state::Manifest& sealed, const state::Manifest& now) {
  std::vector<std::string> lines;
  const auto compare = [&](const std::string& what, const std::string& then, const std::string& here) {
    const auto named = [](const std::string& text) { return text.empty() ? std::string("none") : text; };
    if (then != here) lines.push_back(what + " was " + named(then) + ", is " + named(here));
  };
  compare("dualdeploy", sealed.version + " (" + sealed.revision + ")", now.version + " (" + now.revision + ")");
  for (const auto& [name, then] : sealed.services) {
    const auto here = now.services.find(name);
    if (here == now.services.end()) {
      lines.push_back(name + ": was there, is not configured any more");
      continue;
    }
    compare(name + ": package", then.package, here->second.package);
    compare(name + ": package revision", then.package_revision, here->second.package_revision);
    compare(name + ": image", then.image, here->second.image);
    compare(name + ": image id", then.image_id, here->second.image_id);
    compare(name + ": image revision", then.image_revision, here->second.image_revision);
  }
  for (const auto& [name, here] : now.services) {
    if (!sealed.services.contains(name)) lines.push_back(name + ": was not there when the image was sealed");
  }
  return lines;
}

}  // namespace dualdeploy::cli
