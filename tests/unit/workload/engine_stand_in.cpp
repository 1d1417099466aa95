#include "workload/engine_stand_in.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>
#include <deque>
#include <filesystem>
#include <map>
#include <regex>
#include <vector>

namespace dualdeploy::workload::testing {

namespace asio = boost::asio;
namespace http = boost::beast::http;
namespace json = boost::json;
using asio::local::stream_protocol;
using boost::system::error_code;

namespace {

constexpr const char* image_id = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
constexpr const char* container_id = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

struct Container {
  json::object labels;
  std::string status = "created";
  int exit_code = 0;
};

struct Reply {
  unsigned status = 200;
  std::string body;
  bool json = true;
};

/// "%41" is "A".
std::string decoded(const std::string& text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      result += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else {
      result += text[i];
    }
  }
  return result;
}

}  // namespace

struct EngineStandIn::Impl : std::enable_shared_from_this<EngineStandIn::Impl> {
  Impl(asio::io_context& loop, const std::string& socket, Dialect dialect_in)
      : dialect(std::move(dialect_in)), acceptor(loop, stream_protocol::endpoint(socket)) {}

  asio::awaitable<void> accept() {
    const auto self = shared_from_this();
    error_code error;
    while (true) {
      stream_protocol::socket peer(acceptor.get_executor());
      co_await acceptor.async_accept(peer, asio::redirect_error(asio::use_awaitable, error));
      if (error) co_return;
      asio::co_spawn(acceptor.get_executor(), serve(std::move(peer)), asio::detached);
    }
  }

  asio::awaitable<void> serve(stream_protocol::socket peer) {
    const auto self = shared_from_this();
    error_code error;
    boost::beast::flat_buffer buffer;
    http::request<http::string_body> request;
    co_await http::async_read(peer, buffer, request, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    const std::string target = request.target();
    if (target.find("/events?") != std::string::npos) {
      if (const auto wrong = refused_version(target); wrong.status == 200) co_return co_await events(std::move(peer));
    }
    const Reply reply = answer(request.method(), target, request.body());
    http::response<http::string_body> response;
    response.result(reply.status);
    if (target != "/_ping" || dialect.ping_tells) response.set("API-Version", "1." + std::to_string(dialect.newest));
    response.set(http::field::content_type, reply.json ? "application/json" : "text/plain; charset=utf-8");
    response.body() = reply.body;
    response.prepare_payload();
    co_await http::async_write(peer, response, asio::redirect_error(asio::use_awaitable, error));
  }

  asio::awaitable<void> events(stream_protocol::socket peer) {
    constexpr std::string_view header =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    error_code error;
    std::string out = dialect.late_header ? "" : std::string(header);
    std::size_t told = log.size();
    bool begun = !dialect.late_header;
    while (!error) {
      if (!out.empty()) co_await asio::async_write(peer, asio::buffer(out), asio::redirect_error(asio::use_awaitable, error));
      out.clear();
      if (told == log.size()) {
        asio::steady_timer wait(acceptor.get_executor(), asio::steady_timer::time_point::max());
        followers.push_back(&wait);
        error_code cancelled;
        co_await wait.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
        std::erase(followers, &wait);
        if (gone) co_return;
        continue;
      }
      if (!begun) out = header;
      begun = true;
      const std::string& line = log[told++];
      if (dialect.pieces) {
        out += chunk(line.substr(0, line.size() / 2)) + chunk(line.substr(line.size() / 2));
      } else {
        out += chunk(line);
      }
    }
  }

  static std::string chunk(const std::string& text) {
    char size[20];
    std::snprintf(size, sizeof size, "%zx\r\n", text.size());
    return size + text + "\r\n";
  }

  Reply refusal(unsigned status, const std::string& message) const {
    if (dialect.plain_errors) return {status, message + "\n", false};
    return {status, json::serialize(json::object{{"message", message}}) + "\n"};
  }

  /// Status 200: it is one that this engine takes.
  Reply refused_version(const std::string& target) {
    std::smatch match;
    if (!std::regex_search(target, match, std::regex("^/v1\\.([0-9]+)/"))) return {};
    used = "/v1." + match[1].str();
    const int asked = std::stoi(match[1]);
    const std::string asked_text = "client version 1." + match[1].str();
    if (asked < dialect.oldest) {
      return refusal(400, asked_text + " is too old. Minimum supported API version is 1." + std::to_string(dialect.oldest) +
                              ", please upgrade your client to a newer version");
    }
    if (asked > dialect.newest) {
      return refusal(400, asked_text + " is too new. Maximum supported API version is 1." + std::to_string(dialect.newest));
    }
    return {};
  }

  Reply answer(http::verb verb, const std::string& target, const std::string& body) {
    if (target == "/_ping" || target.ends_with("/_ping")) return {200, "OK", false};
    if (const Reply wrong = refused_version(target); wrong.status != 200) return wrong;
    if (target == "/version") {
      return {200, json::serialize(json::object{{"Version", dialect.name},
                                                {"ApiVersion", "1." + std::to_string(dialect.newest)},
                                                {"MinAPIVersion", "1." + std::to_string(dialect.oldest)}})};
    }
    std::smatch match;
    if (std::regex_match(target, match, std::regex("/v[0-9.]+/images/(.*)/json"))) return image_reply(decoded(match[1]));
    if (std::regex_match(target, match, std::regex("/v[0-9.]+/containers/create\\?name=(.*)"))) return create(decoded(match[1]), body);
    if (std::regex_match(target, match, std::regex("/v[0-9.]+/containers/([^/?]+)(/[a-z]+)?(\\?.*)?"))) {
      return of_container(verb, decoded(match[1]), match[2]);
    }
    return refusal(404, "page not found");
  }

  Reply image_reply(const std::string& asked) const {
    if (asked != image) return refusal(404, "No such image: " + asked);
    return {200, json::serialize(json::object{
                     {"Id", image_id},
                     {"RepoTags", {image}},
                     {"Config", json::object{{"Labels", json::object{{"org.opencontainers.image.revision", revision}}}}}})};
  }

  Reply create(const std::string& name, const std::string& body) {
    const json::object wanted = json::parse(body).as_object();
    const std::string from(wanted.at("Image").as_string());
    if (from != image_id && from != image) return refusal(404, "No such image: " + from);
    if (containers.contains(name)) {
      return refusal(409, "Conflict. The container name \"/" + name + "\" is already in use by container " + container_id +
                              ". You have to remove (or rename) that container to be able to reuse that name.");
    }
    containers[name].labels = wanted.at("Labels").as_object();
    tell("create", name, {});
    return {201, json::serialize(json::object{{"Id", container_id}, {"Warnings", nullptr}})};
  }

  Reply of_container(http::verb verb, const std::string& name, const std::string& what) {
    if (!containers.contains(name)) return refusal(404, "No such container: " + name);
    Container& container = containers[name];
    const bool runs = container.status == "running";
    if (verb == http::verb::get && what == "/json") return inspect(name, container);
    if (verb == http::verb::post && what == "/start") {
      if (runs) return {304, ""};
      container.status = "running";
      tell("start", name, {});
      return {204, ""};
    }
    if (verb == http::verb::post && what == "/stop") {
      if (!runs) return {304, ""};
      end(name, container, 0);
      tell("stop", name, {});
      return {204, ""};
    }
    if (verb == http::verb::delete_ && what.empty()) {
      if (runs) end(name, container, 137);
      tell("destroy", name, {});
      containers.erase(name);
      return {204, ""};
    }
    return refusal(404, "page not found");
  }

  static Reply inspect(const std::string& name, const Container& container) {
    const bool runs = container.status == "running";
    return {200, json::serialize(json::object{{"Id", container_id},
                                              {"Name", "/" + name},
                                              {"Image", image_id},
                                              {"State", json::object{{"Status", container.status},
                                                                     {"Running", runs},
                                                                     {"Paused", false},
                                                                     {"Restarting", false},
                                                                     {"OOMKilled", false},
                                                                     {"Dead", false},
                                                                     {"Pid", runs ? 4711 : 0},
                                                                     {"ExitCode", container.exit_code},
                                                                     {"Error", ""}}},
                                              {"Config", json::object{{"Image", image_id}, {"Labels", container.labels}}}})};
  }

  void end(const std::string& name, Container& container, int exit_code) {
    container.status = "exited";
    container.exit_code = exit_code;
    tell(dialect.died, name, {{dialect.exit_code, std::to_string(exit_code)}});
  }

  void tell(const std::string& action, const std::string& name, json::object attributes) {
    attributes["name"] = name;
    json::object event{{"Type", "container"},
                       {"Action", action},
                       {"Actor", json::object{{"ID", container_id}, {"Attributes", std::move(attributes)}}},
                       {"time", 1'770'000'000}};
    if (dialect.old_event_names) {
      event["status"] = action;
      event["id"] = container_id;
      event["from"] = image;
    }
    log.push_back(json::serialize(event) + "\n");
    for (asio::steady_timer* follower : followers) follower->cancel();
  }

  Dialect dialect;
  stream_protocol::acceptor acceptor;
  std::map<std::string, Container> containers;
  std::deque<std::string> log;  // References to its lines stay good.
  std::vector<asio::steady_timer*> followers;
  std::string used;
  bool gone = false;
};

EngineStandIn::EngineStandIn(asio::io_context& loop, std::string socket, Dialect dialect) {
  std::filesystem::remove(socket);
  impl_ = std::make_shared<Impl>(loop, socket, std::move(dialect));
  asio::co_spawn(loop, impl_->accept(), asio::detached);
}

EngineStandIn::~EngineStandIn() {
  impl_->gone = true;
  impl_->acceptor.close();
  for (asio::steady_timer* follower : impl_->followers) follower->cancel();
}

void EngineStandIn::process_killed() {
  for (auto& [name, container] : impl_->containers) {
    if (container.status == "running") impl_->end(name, container, 137);
  }
}

std::string EngineStandIn::version_used() const { return impl_->used; }

}  // namespace dualdeploy::workload::testing
