#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>

#include "control/routes.hpp"
#include "fuzz.hpp"

/// A request of the control socket: "METHOD TARGET", a line feed, the body.
namespace dualdeploy::control {
namespace {

using fuzz::require;

/// Takes everything, and looks whether what comes here is within its limits.
class Agent final : public Api {
 public:
  boost::asio::awaitable<boost::json::value> status(std::optional<std::string> service) const override {
    if (service) check_service(*service);
    co_return boost::json::object();
  }
  Outcome drain(std::string service, std::optional<Milliseconds> wait) const override {
    check_service(service);
    require(!wait || *wait <= std::chrono::hours(24), "a wait is bounded");
    co_return done();
  }
  bool has_service(std::string_view name) const override { return name == "shop"; }
  std::vector<std::string> service_names() const override { return {"shop"}; }
  Expected<std::vector<boost::json::object>> history(std::optional<std::string> service, std::size_t limit, bool) const override {
    if (service) check_service(*service);
    require(limit <= 5'000, "the history asked for is bounded");
    return std::vector<boost::json::object>{};
  }
  boost::json::object version() const override { return {}; }
  std::shared_ptr<void> subscribe(Listener) override { return nullptr; }
  Outcome flip(FlipRequest request, Actor) override {
    require(!request.dry_run, "a dry run changes nothing");
    check(request);
    co_return done();
  }
  Outcome dry_run(FlipRequest request) override {
    require(request.dry_run, "a flip is not only tried");
    check(request);
    co_return done();
  }
  Outcome confirm(std::string service, std::string reason, Actor) override { return take(service, reason); }
  Outcome revert(std::string service, std::string reason, Actor) override { return take(service, reason); }
  Outcome hold(std::string service, std::string reason, Actor) override {
    require(!reason.empty(), "a hold has a reason");
    return take(service, reason);
  }
  Outcome release(std::string service, std::string reason, Actor) override { return take(service, reason); }
  Outcome leave(LeaveRequest request, Actor) override { return take("shop", request.reason); }
  Outcome join(std::string reason, Actor) override { return take("shop", reason); }
  Outcome rescue(std::string reason, Actor) override { return take("shop", reason); }

 private:
  static Expected<ChangeResult> done() { return ChangeResult{}; }
  static Outcome take(const std::string& service, const std::string& reason) {
    check_service(service);
    check_reason(reason);
    return finished();
  }
  static Outcome finished() { co_return done(); }
  static void check_service(const std::string& service) { require(service == "shop", "only services that there are", service); }
  static void check_reason(const std::string& reason) {
    require(reason.size() <= 500, "a reason is bounded");
    const auto is_control = [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; };
    require(std::ranges::none_of(reason, is_control), "a reason is one line");
  }
  static void check(const FlipRequest& request) {
    check_service(request.service);
    check_reason(request.reason);
    require(request.timeout >= Milliseconds{0} && request.timeout <= std::chrono::hours(1), "a timeout is bounded");
    if (request.confirm_within) {
      require(*request.confirm_within >= std::chrono::seconds(1) && *request.confirm_within <= std::chrono::days(7),
              "a time to confirm is bounded");
    }
    const Route& to = request.to;
    require(to.container_percent >= 0 && to.container_percent <= 100, "a share is one of a hundred");
    require(to.testers.size() <= most_testers, "testers are bounded");
    require(!to.sticky || (to.container_percent > 0 && to.container_percent < 100), "only a share can be sticky");
    require(to.testers.empty() || to.container_percent < 100, "testers are the exception");
    require(route_described(describe(to)) == to, "a route can be read back", describe(to));
  }
};

void check(const Reply& reply) {
  boost::system::error_code error;
  const boost::json::value body = boost::json::parse(reply.body, error);
  require(!error && reply.body.ends_with('\n'), "a reply is a line of JSON", reply.body);
  if (reply.status == 200) return;
  require(reply.status >= 400 && reply.status < 600, "it is an answer or an error");
  require((reply.status == 405) == !reply.allow.empty(), "405 tells what is allowed");
  const auto& about = body.at("error").as_object();
  require(!about.at("message").as_string().empty() && about.at("exit").as_int64() > 0, "an error says what it is");
}

}  // namespace
}  // namespace dualdeploy::control

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dualdeploy;
  using namespace dualdeploy::control;
  std::string_view body = fuzz::as_text(data, size);
  Question question{std::string(fuzz::take_until(body, " ")), {}, {}, {}};
  auto target = parse_target(fuzz::take_until(body, "\n"));
  if (!target) {
    check(error_reply(target.error()));
    return 0;
  }
  question.target = std::move(*target);
  question.body = std::string(body);
  question.peer.actor.uid = 0;
  static boost::asio::io_context loop;
  static Agent agent;
  static const Access access;
  std::optional<Reply> reply;
  boost::asio::co_spawn(loop, answer(agent, access, std::move(question)), [&](const std::exception_ptr& failure, Reply given) {
    if (failure) std::rethrow_exception(failure);
    reply = std::move(given);
  });
  loop.restart();
  loop.run();
  fuzz::require(reply.has_value(), "there is an answer");
  check(*reply);
  return 0;
}
