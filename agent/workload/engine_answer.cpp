#include "workload/engine_answer.hpp"

#include <boost/json.hpp>
#include <charconv>

#include "host/text.hpp"

namespace dualdeploy::workload {

namespace json = boost::json;
using boost::system::error_code;
using host::text_of;

namespace {

/// "1.41" is 41; API versions other than 1.x do not exist.
std::optional<int> minor_of(std::string_view version) {
  if (!version.starts_with("1.")) return std::nullopt;
  version.remove_prefix(2);
  int minor = 0;
  const auto [end, error] = std::from_chars(version.data(), version.data() + version.size(), minor);
  if (error != std::errc{} || end != version.data() + version.size()) return std::nullopt;
  return minor;
}

std::int64_t number_of(const json::object& object, std::string_view member) {
  const json::value* value = object.if_contains(member);
  return value != nullptr && value->is_int64() ? value->get_int64() : 0;
}
bool flag_of(const json::object& object, std::string_view member) {
  const json::value* value = object.if_contains(member);
  return value != nullptr && value->is_bool() && value->get_bool();
}
json::object object_of(const json::object& object, std::string_view member) {
  const json::value* value = object.if_contains(member);
  return value != nullptr && value->is_object() ? value->get_object() : json::object();
}

Expected<json::object> parse_object(const std::string& body) {
  error_code error;
  json::value value = json::parse(body, error);
  if (error || !value.is_object()) return fail(ErrorCode::unreachable, "the container engine answered something that is not a JSON object");
  return std::move(value.get_object());
}

/// The object of an inspection; nothing for a 404.
Expected<std::optional<json::object>> inspected(const Answer& answer) {
  if (answer.status == 404) return std::optional<json::object>{};
  if (answer.status != 200) return std::unexpected(refusal(answer));
  return parse_object(answer.body);
}

Expected<EngineClient::Event> parse_event(std::string_view line) {
  error_code error;
  const json::value value = json::parse(line, error);
  if (error || !value.is_object()) return fail("not an event");
  const json::object& object = value.get_object();
  // `status` is the old name of `Action` and is gone in API 1.52.
  EngineClient::Event event{text_of(object, "Action"), {}};
  if (event.action.empty()) event.action = text_of(object, "status");
  if (event.action == "died") event.action = "die";
  const json::object attributes = object_of(object_of(object, "Actor"), "Attributes");
  event.exit_code = text_of(attributes, "exitCode");
  if (event.exit_code.empty()) event.exit_code = text_of(attributes, "containerExitCode");
  return event;
}

}  // namespace

Expected<Versions> read_versions(const Answer& pong, const Answer& version) {
  const auto details = parse_object(version.body);
  if (!details) return std::unexpected(details.error());
  return Versions{minor_of(pong.api_version.empty() ? text_of(*details, "ApiVersion") : pong.api_version),
                  minor_of(text_of(*details, "MinAPIVersion")).value_or(0)};
}

Expected<std::optional<EngineClient::Image>> read_image(const Answer& answer) {
  const auto details = inspected(answer);
  if (!details) return std::unexpected(details.error());
  if (!*details) return std::optional<EngineClient::Image>{};
  const json::object labels = object_of(object_of(**details, "Config"), "Labels");
  return EngineClient::Image{text_of(**details, "Id"), text_of(labels, "org.opencontainers.image.revision")};
}

Expected<std::optional<EngineClient::Container>> read_container(const Answer& answer) {
  const auto details = inspected(answer);
  if (!details) return std::unexpected(details.error());
  if (!*details) return std::optional<EngineClient::Container>{};
  const json::object state = object_of(**details, "State");
  EngineClient::Container container;
  container.id = text_of(**details, "Id");
  container.image_id = text_of(**details, "Image");
  container.running = flag_of(state, "Running");
  container.status = text_of(state, "Status");
  container.pid = number_of(state, "Pid");
  container.exit_code = static_cast<int>(number_of(state, "ExitCode"));
  container.oom_killed = flag_of(state, "OOMKilled");
  container.error = text_of(state, "Error");
  container.labels = object_of(object_of(**details, "Config"), "Labels");
  return container;
}

Error refusal(const Answer& answer) {
  std::string message = answer.body.substr(0, 500);
  error_code error;
  const json::value value = json::parse(answer.body, error);
  if (!error && value.is_object()) message = text_of(value.get_object(), "message");
  while (!message.empty() && message.back() == '\n') message.pop_back();
  return Error{ErrorCode::failed, "container engine: " + message + " (HTTP " + std::to_string(answer.status) + ")"};
}

bool EventLines::take(std::string_view bytes, const EngineClient::OnEvent& on_event) {
  rest_ += bytes;
  for (std::size_t end = rest_.find('\n'); end != std::string::npos; end = rest_.find('\n')) {
    if (const auto event = parse_event(std::string_view(rest_).substr(0, end))) on_event(*event);
    rest_.erase(0, end + 1);
  }
  return rest_.size() <= limit;
}

}  // namespace dualdeploy::workload
