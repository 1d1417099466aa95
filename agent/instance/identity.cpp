#include "instance/identity.hpp"

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json.hpp>
#include <charconv>
#include <random>

#include "host/boot.hpp"
#include "host/clock.hpp"
#include "host/text.hpp"
#include "state/files.hpp"

namespace dualdeploy::instance {

namespace asio = boost::asio;
namespace json = boost::json;
namespace fs = std::filesystem;

namespace {

constexpr const char* file_name = "instance.json";
constexpr std::size_t file_limit = 4 * 1024;
constexpr const char* route_tag = "tags/instance/dualdeploy-route";

std::optional<Route> route_of(std::string_view text) {
  if (const auto side = side_named(text)) return Route::to(*side);
  if (text.ends_with('%')) text.remove_suffix(1);
  int percent = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), percent);
  if (error != std::errc{} || end != text.data() + text.size() || percent < 0 || percent > 100) return std::nullopt;
  return Route::of(percent);
}

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

bool is_instance_id(std::string_view text) {
  return !text.empty() && text.size() <= 64 &&
         std::ranges::all_of(text, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
}

bool on_ec2(const config::Metadata& settings, const fs::path& firmware) {
  using Use = config::Metadata::Use;
  if (settings.use != Use::automatic) return settings.use == Use::on;
  // Nitro says so in its vendor fields, Xen in its firmware's version.
  return host::first_line_of(firmware / "sys_vendor") == "Amazon EC2" || host::first_line_of(firmware / "board_vendor") == "Amazon EC2" ||
         host::first_line_of(firmware / "bios_version").find("amazon") != std::string::npos;
}

Expected<InitialRoutes> parse_initial_routes(std::string_view text) {
  InitialRoutes routes;
  while (!host::trimmed(text).empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view part = host::trimmed(text.substr(0, comma));
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    const std::size_t equals = part.find('=');
    const auto route = equals == std::string_view::npos ? std::nullopt : route_of(host::trimmed(part.substr(equals + 1)));
    const std::string_view service = host::trimmed(part.substr(0, equals));
    if (!route || service.empty()) {
      return fail(ErrorCode::usage, "expected SERVICE=rpm, SERVICE=container or SERVICE=PERCENT (SERVICE may be *), got '" +
                                        std::string(part.substr(0, 100)) + "'");
    }
    routes[std::string(service)] = *route;
  }
  return routes;
}

std::optional<std::string> line_in_user_data(std::string_view user_data) {
  constexpr std::string_view mark = "#dualdeploy ";
  while (!user_data.empty()) {
    const std::size_t end = user_data.find('\n');
    const std::string_view line = user_data.substr(0, end);
    if (line.starts_with(mark)) return std::string(host::trimmed(line.substr(mark.size())));
    user_data = end == std::string_view::npos ? std::string_view() : user_data.substr(end + 1);
  }
  return std::nullopt;
}

std::optional<Remembered> remembered(const fs::path& directory) {
  const auto content = state::read_file(directory / file_name, file_limit);
  if (!content) return std::nullopt;
  boost::system::error_code error;
  const json::value value = json::parse(*content, error);
  if (error || !value.is_object()) return std::nullopt;
  const json::object& object = value.get_object();
  Remembered found{host::text_of(object, "instance_id"), host::text_of(object, "boot_id"), host::text_of(object, "routes")};
  if (!is_instance_id(found.instance_id)) return std::nullopt;
  return found;
}

Expected<void> remember(const fs::path& directory, const std::string& instance_id, const std::string& routes) {
  if (!is_instance_id(instance_id)) return fail("'" + instance_id.substr(0, 50) + "' is no instance-id");
  const json::object object{{"instance_id", instance_id}, {"boot_id", host::boot_id()}, {"routes", routes}};
  return state::write_atomically(directory / file_name, json::serialize(object) + "\n");
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
