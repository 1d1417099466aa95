#include "control/routes.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <charconv>

#include "control/flip_request.hpp"
#include "host/text.hpp"

namespace dualdeploy::control {

namespace asio = boost::asio;
namespace json = boost::json;

namespace {

using Outcome = Expected<ChangeResult>;

constexpr std::array<std::string_view, 5> service_verbs{"flip", "confirm", "revert", "hold", "release"};
/// Of the whole instance.
constexpr std::array<std::string_view, 3> instance_verbs{"rescue", "leave", "join"};

unsigned http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::usage: return 400;
    case ErrorCode::permission: return 403;
    case ErrorCode::refused: return 409;
    case ErrorCode::timed_out: return 504;
    case ErrorCode::unreachable: return 502;
    case ErrorCode::failed: return 500;
  }
  return 500;
}

Reply ok(const json::value& value) { return Reply{200, host::json_text(value) + "\n", {}}; }

Reply reply_to(Outcome outcome) {
  if (!outcome) return error_reply(outcome.error());
  return ok(json::value(std::move(outcome->details)));
}

Reply no_such_service(const Api& api, const std::string& name) {
  std::string known;
  for (const std::string& service : api.service_names()) known += (known.empty() ? "" : ", ") + service;
  return error_reply(404, Error{ErrorCode::usage, "there is no service '" + name.substr(0, 100) + "'; there are: " +
                                                      (known.empty() ? "none" : known)});
}

Reply no_such_path() {
  return error_reply(404, Error{ErrorCode::usage,
                                "there is nothing here; see GET /v1/status, /v1/services/NAME, /v1/services/NAME/drain, /v1/history, /v1/events, "
                                "/v1/version; POST /v1/services/NAME/flip, confirm, revert, hold, release; POST /v1/rescue, leave, join"});
}

Reply wrong_method(const std::string& allowed) {
  Reply reply = error_reply(405, Error{ErrorCode::usage, "this takes " + allowed});
  reply.allow = allowed;
  return reply;
}

asio::awaitable<Reply> flip(Api& api, std::string service, Body body, Actor actor) {
  auto request = read_flip(std::move(service), std::move(body));
  if (!request) co_return error_reply(request.error());
  if (request->dry_run) co_return reply_to(co_await api.dry_run(std::move(*request)));
  co_return reply_to(co_await api.flip(std::move(*request), std::move(actor)));
}

/// Only looks, and so takes no more than looking does: GET, with ?wait=DURATION.
asio::awaitable<Reply> drain(const Api& api, std::string service, const Target& target) {
  std::optional<Milliseconds> wait;
  if (const auto asked = target.query.find("wait"); asked != target.query.end()) {
    auto duration = parse_duration(asked->second);
    if (!duration) co_return error_reply(Error{ErrorCode::usage, "'wait': " + duration.error().message});
    if (*duration > std::chrono::hours(24)) co_return error_reply(Error{ErrorCode::usage, "'wait' is at most 24h"});
    wait = *duration;
  }
  co_return reply_to(co_await api.drain(std::move(service), wait));
}

asio::awaitable<Reply> leave(Api& api, std::string reason, Body body, Actor actor) {
  const auto wait = body.take_flag("wait");
  if (!wait) co_return error_reply(wait.error());
  const auto stopping = body.take_flag("stopping");
  if (!stopping) co_return error_reply(stopping.error());
  if (auto rest = body.expect_nothing_else(); !rest) co_return error_reply(rest.error());
  LeaveRequest request{std::move(reason), *wait, *stopping};
  co_return reply_to(co_await api.leave(std::move(request), std::move(actor)));
}

asio::awaitable<Reply> change(Api& api, std::string service, std::string verb, std::string text, Actor actor) {
  auto body = Body::parse(text);
  if (!body) co_return error_reply(body.error());
  if (verb == "flip") co_return co_await flip(api, std::move(service), std::move(*body), std::move(actor));
  auto reason = take_reason(*body);
  if (!reason) co_return error_reply(reason.error());
  if (verb == "leave") co_return co_await leave(api, std::move(*reason), std::move(*body), std::move(actor));
  if (auto rest = body->expect_nothing_else(); !rest) co_return error_reply(rest.error());
  if (verb == "revert") co_return reply_to(co_await api.revert(std::move(service), std::move(*reason), std::move(actor)));
  if (verb == "confirm") co_return reply_to(co_await api.confirm(std::move(service), std::move(*reason), std::move(actor)));
  if (verb == "release") co_return reply_to(co_await api.release(std::move(service), std::move(*reason), std::move(actor)));
  if (verb == "join") co_return reply_to(co_await api.join(std::move(*reason), std::move(actor)));
  if (verb == "rescue") co_return reply_to(co_await api.rescue(std::move(*reason), std::move(actor)));
  if (reason->empty()) {
    co_return error_reply(Error{ErrorCode::usage, "a hold needs a 'reason', for whoever finds it"});
  }
  co_return reply_to(co_await api.hold(std::move(service), std::move(*reason), std::move(actor)));
}

Reply history(const Api& api, const Target& target) {
  constexpr std::size_t usual = 100;
  constexpr std::size_t most = 5'000;
  auto limit = number_in_query(target, "limit", usual, most);
  if (!limit) return error_reply(limit.error());
  std::optional<std::string> service;
  if (const auto named = target.query.find("service"); named != target.query.end() && !named->second.empty()) {
    service = named->second;
    if (!api.has_service(*service)) return no_such_service(api, *service);
  }
  auto records = api.history(service, *limit, !target.query.contains("all"));
  if (!records) return error_reply(records.error());
  json::array array;
  for (json::object& record : *records) array.push_back(std::move(record));
  return ok(std::move(array));
}

}  // namespace

Reply error_reply(unsigned status, const Error& error) {
  const json::object object{{"error", json::object{{"code", name_of(error.code)},
                                                   {"exit", static_cast<int>(error.code)},
                                                   {"message", error.message}}}};
  return Reply{status, host::json_text(object) + "\n", {}};
}

Reply error_reply(const Error& error) { return error_reply(http_status(error.code), error); }

std::optional<Error> forbidden(const Peer& peer, const Access& access, bool to_change) {
  const Permission permission = permission_of(peer, access);
  const std::string who = "user " + peer.actor.user + " (uid " + std::to_string(peer.actor.uid) + ")";
  if (permission == Permission::nothing) {
    return Error{ErrorCode::permission, who + " is in neither group '" + access.change_group + "' nor '" + access.view_group +
                                            "'; an administrator can add: usermod -aG " + access.view_group + " " +
                                            peer.actor.user};
  }
  if (to_change && permission != Permission::change) {
    return Error{ErrorCode::permission, who + " may look but not change; that takes the group '" + access.change_group +
                                            "': usermod -aG " + access.change_group + " " + peer.actor.user};
  }
  return std::nullopt;
}

bool asks_for_events(const Question& question) {
  const auto& path = question.target.path;
  return path.size() == 2 && path[0] == "v1" && path[1] == "events";
}

Expected<std::size_t> number_in_query(const Target& target, const std::string& name, std::size_t fallback, std::size_t most) {
  const auto found = target.query.find(name);
  if (found == target.query.end()) return fallback;
  std::size_t number = 0;
  const char* end = found->second.data() + found->second.size();
  const auto [stop, error] = std::from_chars(found->second.data(), end, number);
  if (error != std::errc{} || stop != end || number > most) {
    return fail(ErrorCode::usage, "'" + name + "' is a number from 0 to " + std::to_string(most));
  }
  return number;
}

asio::awaitable<Reply> answer(Api& api, const Access& access, Question question) {
  const auto& path = question.target.path;
  const bool known_root = !path.empty() && path[0] == "v1";
  const bool of_service = known_root && path.size() >= 3 && path[1] == "services";
  const bool drains = of_service && path.size() == 4 && path[3] == "drain";
  const bool changes = known_root && ((of_service && path.size() == 4 && !drains) || (path.size() == 2 && std::ranges::count(instance_verbs, path[1]) > 0));
  if (auto error = forbidden(question.peer, access, changes && question.method == "POST")) co_return error_reply(403, *error);
  if (drains) {
    if (question.method != "GET") co_return wrong_method("GET");
    if (!api.has_service(path[2])) co_return no_such_service(api, path[2]);
    co_return co_await drain(api, path[2], question.target);
  }
  if (changes) {
    const std::string verb = path.back();
    const bool known = std::ranges::count(service_verbs, verb) > 0 || !of_service;
    if (!known) co_return no_such_path();
    if (question.method != "POST") co_return wrong_method("POST");
    if (of_service && !api.has_service(path[2])) co_return no_such_service(api, path[2]);
    std::string service = of_service ? path[2] : "";
    co_return co_await change(api, std::move(service), verb, std::move(question.body), question.peer.actor);
  }
  if (!known_root || path.size() > 3 || (path.size() == 3 && !of_service)) co_return no_such_path();
  if (of_service && !api.has_service(path[2])) co_return no_such_service(api, path[2]);
  const std::string what = path.size() == 2 ? path[1] : "";
  if (!of_service && what != "status" && what != "history" && what != "version") co_return no_such_path();
  if (question.method != "GET") co_return wrong_method("GET");
  if (of_service) co_return ok(co_await api.status(path[2]));
  if (what == "status") co_return ok(co_await api.status(std::nullopt));
  if (what == "version") co_return ok(json::value(api.version()));
  co_return history(api, question.target);
}

}  // namespace dualdeploy::control
