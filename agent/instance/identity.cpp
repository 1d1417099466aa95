#include "instance/identity.hpp"

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json.hpp>
#include <charconv>
#include <fstream>
#include <random>

#include "host/boot.hpp"
#include "host/clock.hpp"
#include "state/files.hpp"

namespace dualdeploy::instance {

namespace asio = boost::asio;
namespace json = boost::json;
namespace fs = std::filesystem;

namespace {

constexpr const char* file_name = "instance.json";
constexpr std::size_t file_limit = 4 * 1024;
constexpr const char* route_tag = "tags/instance/dualdeploy-route";

std::string first_line(const fs::path& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  return line;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blank = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(blank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(blank) - begin + 1);
}

std::optional<Route> route_of(std::string_view text) {
  if (const auto side = side_named(text)) return Route::to(*side);
  if (text.ends_with('%')) text.remove_suffix(1);
  int percent = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), percent);
  if (error != std::errc{} || end != text.data() + text.size() || percent < 0 || percent > 100) return std::nullopt;
  return Route::of(percent);
}

std::string member(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

/// What one instance saved, out of the way and still there for the curious. What an image build recorded stays.
Expected<void> set_aside(const fs::path& directory, const std::string& id) {
  const fs::path aside = directory / ("of-" + id);
  std::error_code error;
  fs::remove_all(aside, error);
  if (!error) fs::create_directory(aside, error);
  if (error) return fail(aside.string() + ": " + error.message());
  std::vector<fs::path> theirs;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename();
    if (name == "services" || name.starts_with("history")) theirs.push_back(entry.path());
  }
  for (const fs::path& path : theirs) {
    if (!error) fs::rename(path, aside / path.filename(), error);
  }
  if (error) return fail("the state of another instance could not be set aside: " + error.message());
  return {};
}

/// The tag goes before the user data. Trouble with either is a warning: the configured route is taken.
asio::awaitable<void> ask_for_routes(std::shared_ptr<Metadata> metadata, Identity& identity) {
  std::string path = route_tag;
  const auto tag = co_await metadata->get(std::move(path));
  std::optional<std::string> text;
  std::string source = "the tag dualdeploy-route";
  if (tag && *tag) text = **tag;
  if (!text) {
    const auto data = co_await metadata->user_data();
    if (data && *data) text = line_in_user_data(**data);
    source = "the user data";
  }
  if (!text) co_return;
  auto routes = parse_initial_routes(*text);
  if (routes) {
    identity.initial = std::move(*routes);
  } else {
    identity.warnings.push_back(source + " cannot be used: " + routes.error().message);
  }
}

bool safe_as_name(const std::string& id) {
  return !id.empty() && id.size() <= 64 &&
         std::ranges::all_of(id, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
}

}  // namespace

bool on_ec2(const config::Metadata& settings, const fs::path& firmware) {
  using Use = config::Metadata::Use;
  if (settings.use != Use::automatic) return settings.use == Use::on;
  // Nitro says so in its vendor fields, Xen in its firmware's version.
  return first_line(firmware / "sys_vendor") == "Amazon EC2" || first_line(firmware / "board_vendor") == "Amazon EC2" ||
         first_line(firmware / "bios_version").find("amazon") != std::string::npos;
}

Expected<InitialRoutes> parse_initial_routes(std::string_view text) {
  InitialRoutes routes;
  while (!trimmed(text).empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view part = trimmed(text.substr(0, comma));
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    const std::size_t equals = part.find('=');
    const auto route = equals == std::string_view::npos ? std::nullopt : route_of(trimmed(part.substr(equals + 1)));
    const std::string_view service = trimmed(part.substr(0, equals));
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
    if (line.starts_with(mark)) return std::string(trimmed(line.substr(mark.size())));
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
  Remembered found{member(value.get_object(), "instance_id"), member(value.get_object(), "boot_id")};
  if (!safe_as_name(found.instance_id)) return std::nullopt;
  return found;
}

Expected<void> remember(const fs::path& directory, const std::string& instance_id) {
  const json::object object{{"instance_id", instance_id}, {"boot_id", host::boot_id()}};
  return state::write_atomically(directory / file_name, json::serialize(object) + "\n");
}

asio::awaitable<Identity> identify(asio::any_io_executor executor, std::shared_ptr<Metadata> metadata,
                                   config::Metadata settings, fs::path directory) {
  Identity identity;
  const auto before = remembered(directory);
  if (before && before->boot_id == host::boot_id()) {
    identity.id = before->instance_id;  // The agent was restarted; the instance was not.
    co_return identity;
  }
  const Instant begun = host::now();
  Backoff backoff(Milliseconds{100}, Milliseconds{1'000}, std::random_device{}());
  for (;;) {
    std::string path = "instance-id";
    const auto answer = co_await metadata->get(std::move(path));
    if (answer && *answer && safe_as_name(**answer)) {
      identity.id = **answer;
      break;
    }
    identity.trouble = !answer ? answer.error().message : "the metadata service gives no instance-id";
    const Milliseconds pause = backoff.next();
    if (host::now() - begun + pause > settings.patience) co_return identity;
    boost::system::error_code ignored;
    asio::steady_timer timer(executor, pause);
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  identity.trouble.clear();
  if (before && before->instance_id != identity.id) {
    identity.foreign = before->instance_id;
    if (auto aside = set_aside(directory, identity.foreign); !aside) identity.warnings.push_back(aside.error().message);
  }
  std::error_code ignored;
  fs::create_directories(directory, ignored);
  if (auto kept = remember(directory, identity.id); !kept) identity.warnings.push_back(kept.error().message);
  co_await ask_for_routes(metadata, identity);
  co_return identity;
}

}  // namespace dualdeploy::instance
