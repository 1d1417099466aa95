#include "state/rescue.hpp"

#include <boost/json.hpp>

#include "host/text.hpp"
#include "host/wall_clock.hpp"
#include "state/files.hpp"
#include "state/record.hpp"

namespace dualdeploy::state {

namespace json = boost::json;
namespace fs = std::filesystem;

namespace {
constexpr std::size_t state_file_limit = 64 * 1024;

/// The route the file held; nothing if it was the RPM's already or is not readable (then the agent takes the RPM).
Expected<std::optional<Route>> forget_route(const fs::path& file) {
  auto content = read_file(file, state_file_limit);
  if (!content) return std::unexpected(content.error());
  auto saved = parse_state(*content);
  if (!saved) return std::optional<Route>{};
  Durable& durable = saved->durable;
  if (durable.route.all_rpm() && !durable.intent && !durable.confirm) return std::optional<Route>{};
  const Route before = durable.route;
  durable.route = Route{};
  durable.intent.reset();
  durable.confirm.reset();
  if (auto written = write_atomically(file, print_state(durable)); !written) {
    return std::unexpected(written.error());
  }
  return std::optional(before);
}
}  // namespace

Expected<std::string> forget_routes(const fs::path& directory, std::string_view reason, const Actor& actor) {
  std::error_code error;
  fs::directory_iterator files(directory / "services", error);
  if (error == std::errc::no_such_file_or_directory) return "no saved routes";
  if (error) return fail((directory / "services").string() + ": " + error.message());

  std::size_t changed = 0;
  for (const fs::directory_entry& entry : files) {
    if (entry.path().extension() != ".json") continue;
    auto before = forget_route(entry.path());
    if (!before) return std::unexpected(before.error());
    if (!*before) continue;
    ++changed;
    StampedRecord record{.unix_ms = host::wall_unix_ms(), .service = entry.path().stem().string()};
    record.record = Record{.kind = RecordKind::rescue, .actor = actor, .from = **before, .to = Route{},
                           .reason = std::string(reason), .message = "rescued while no agent was running"};
    if (auto written = append_durably(directory / "history.jsonl", host::json_text(to_json(record)) + "\n"); !written) {
      return std::unexpected(written.error());
    }
  }
  return changed == 0 ? "saved routes were at the RPM already"
                      : std::to_string(changed) + " saved route(s) set to the RPM";
}

}  // namespace dualdeploy::state
