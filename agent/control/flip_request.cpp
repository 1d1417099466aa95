#include "control/flip_request.hpp"

#include <chrono>

namespace dualdeploy::control {
namespace {

using namespace std::chrono_literals;

Expected<Milliseconds> take_duration(Body& body, const std::string& name, const std::string& fallback, Milliseconds least,
                                     Milliseconds most) {
  auto text = body.take_text(name, fallback);
  if (!text) return std::unexpected(text.error());
  auto duration = parse_duration(*text);
  if (!duration) return fail(ErrorCode::usage, "'" + name + "': " + duration.error().message);
  if (*duration < least || *duration > most) {
    return fail(ErrorCode::usage, "'" + name + "' is " + format_duration(*duration) + "; expected " + format_duration(least) +
                                      " to " + format_duration(most));
  }
  return duration;
}

Expected<Route> take_route(Body& body) {
  auto to = body.take_text("to", "");
  if (!to) return std::unexpected(to.error());
  const auto side = side_named(*to);
  if (!side) return fail(ErrorCode::usage, "'to' is '" + to->substr(0, 50) + "'; expected 'container' or 'rpm'");
  auto share = body.take_number("percent", 100, 0, 100);
  if (!share) return std::unexpected(share.error());
  auto sticky = body.take_flag("sticky");
  if (!sticky) return std::unexpected(sticky.error());
  auto texts = body.take_texts("testers", most_testers);
  if (!texts) return std::unexpected(texts.error());
  std::vector<Network> testers;
  for (const std::string& text : *texts) {
    auto network = Network::parse(text);
    if (!network) return std::unexpected(std::move(network.error()).within("testers"));
    testers.push_back(*network);
  }
  const int percent = *side == Side::container ? static_cast<int>(*share) : 100 - static_cast<int>(*share);
  if (*sticky && (percent == 0 || percent == 100)) {
    return fail(ErrorCode::usage, "'sticky' is about a share: it needs a percentage from 1 to 99");
  }
  if (!testers.empty() && percent == 100) {
    return fail(ErrorCode::usage, "'testers' has no meaning when everybody gets the container; give a percentage below 100, "
                                  "or flip to 'rpm' for testers alone");
  }
  return Route::of(percent, *sticky, std::move(testers));
}

}  // namespace

Expected<FlipRequest> read_flip(std::string service, Body body) {
  FlipRequest request;
  request.service = std::move(service);
  auto route = take_route(body);
  if (!route) return std::unexpected(route.error());
  request.to = std::move(*route);
  auto reason = take_reason(body);
  if (!reason) return std::unexpected(reason.error());
  request.reason = std::move(*reason);
  for (const auto& [name, flag] : {std::pair{"force", &request.force}, {"wait", &request.wait}, {"dry_run", &request.dry_run}}) {
    auto value = body.take_flag(name);
    if (!value) return std::unexpected(value.error());
    *flag = *value;
  }
  auto timeout = take_duration(body, "timeout", "30s", 0ms, 1h);
  if (!timeout) return std::unexpected(timeout.error());
  request.timeout = *timeout;
  if (body.has("confirm_within")) {
    auto within = take_duration(body, "confirm_within", "", 1s, 24h * 7);
    if (!within) return std::unexpected(within.error());
    request.confirm_within = *within;
  }
  if (auto rest = body.expect_nothing_else(); !rest) return std::unexpected(rest.error());
  return request;
}

}  // namespace dualdeploy::control
