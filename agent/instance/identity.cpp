#include "instance/identity.hpp"

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <random>

#include "host/boot.hpp"
#include "host/clock.hpp"
#include "host/text.hpp"

namespace dualdeploy::instance {

namespace asio = boost::asio;
namespace fs = std::filesystem;

namespace {

constexpr const char* route_tag = "tags/instance/dualdeploy-route";

/// What one instance saved, out of the way and still there for the curious. What an image build recorded stays.
Expected<void> set_aside(const fs::path& directory, const std::string& id) {
  std::error_code error;
  fs::path aside = directory / ("of-" + id);
  for (int number = 2; fs::exists(aside, error); ++number) aside = directory / ("of-" + id + "-" + std::to_string(number));
  fs::create_directory(aside, error);
  if (error) return fail(aside.string() + ": " + error.message());
  std::vector<fs::path> theirs;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename();
    if (name == "services" || name.starts_with("history")) theirs.push_back(entry.path());
  }
  for (const fs::path& path : theirs) {
    if (!error) fs::rename(path, aside / path.filename(), error);
  }
  if (error) return fail("it could not be moved to " + aside.string() + ": " + error.message());
  return {};
}

/// The text, if there is one. The tag goes before the user data; an error is no word of either.
asio::awaitable<Expected<std::string>> ask_for_routes(std::shared_ptr<Metadata> metadata) {
  std::string path = route_tag;
  const auto tag = co_await metadata->get(std::move(path));
  if (!tag) co_return std::unexpected(tag.error());
  if (*tag) co_return **tag;
  const auto data = co_await metadata->user_data();
  if (!data) co_return std::unexpected(data.error());
  co_return *data ? line_in_user_data(**data).value_or("") : "";
}

void take_routes(const std::string& text, Identity& identity) {
  auto routes = parse_initial_routes(text);
  if (routes) {
    identity.initial = std::move(*routes);
  } else {
    identity.warnings.push_back("the tag dualdeploy-route or the user data cannot be used: " + routes.error().message);
  }
}

}  // namespace

bool on_ec2(const config::Metadata& settings, const fs::path& firmware) {
  using Use = config::Metadata::Use;
  if (settings.use != Use::automatic) return settings.use == Use::on;
  // Nitro says so in its vendor fields, Xen in its firmware's version.
  return host::first_line_of(firmware / "sys_vendor") == "Amazon EC2" || host::first_line_of(firmware / "board_vendor") == "Amazon EC2" ||
         host::first_line_of(firmware / "bios_version").find("amazon") != std::string::npos;
}

asio::awaitable<Identity> identify(asio::any_io_executor executor, std::shared_ptr<Metadata> metadata,
                                   config::Metadata settings, fs::path directory) {
  Identity identity;
  const auto before = remembered(directory);
  if (before && before->boot_id == host::boot_id()) {
    identity.id = before->instance_id;  // The agent was restarted; the instance was not.
    take_routes(before->routes, identity);
    co_return identity;
  }
  const Instant begun = host::now();
  Backoff backoff(Milliseconds{100}, Milliseconds{1'000}, std::random_device{}());
  std::optional<Expected<std::string>> routes;
  for (;;) {
    if (identity.id.empty()) {
      std::string path = "instance-id";
      const auto answer = co_await metadata->get(std::move(path));
      if (answer && *answer && is_instance_id(**answer)) identity.id = **answer;
      if (identity.id.empty()) identity.trouble = !answer ? answer.error().message : "the metadata service gives no instance-id";
    }
    if (!identity.id.empty()) routes = co_await ask_for_routes(metadata);
    if (routes && *routes) break;
    const Milliseconds pause = backoff.next();
    if (host::now() - begun + pause > settings.patience) break;
    boost::system::error_code ignored;
    asio::steady_timer timer(executor, pause);
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  if (identity.id.empty()) co_return identity;
  identity.trouble.clear();
  std::error_code ignored;
  fs::create_directories(directory, ignored);
  if (before && before->instance_id != identity.id) {
    identity.foreign = before->instance_id;
    if (auto aside = set_aside(directory, identity.foreign); !aside) {
      // Not remembered: the next start has to find out again.
      identity.unusable = "it is that of instance " + identity.foreign + ", and " + aside.error().message;
      co_return identity;
    }
  }
  if (!*routes) identity.warnings.push_back("no initial route is taken from tag or user data: " + routes->error().message);
  const std::string text = *routes ? **routes : "";
  take_routes(text, identity);
  if (auto kept = remember(directory, identity.id, text); !kept) identity.warnings.push_back(kept.error().message);
  co_return identity;
}

}  // namespace dualdeploy::instance
