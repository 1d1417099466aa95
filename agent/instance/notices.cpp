#include "instance/notices.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json.hpp>
#include <random>

#include "host/spawn.hpp"
#include "host/text.hpp"
#include "instance/identity.hpp"

namespace dualdeploy::instance {

namespace asio = boost::asio;
namespace json = boost::json;

namespace {

constexpr Milliseconds longest_pause{60'000};

/// docs.aws.amazon.com/autoscaling: "Retrieve the target lifecycle state through instance metadata". An error: this is no
/// lifecycle state, whoever said it.
Expected<std::optional<std::string>> why_of_lifecycle(const std::optional<std::string>& said) {
  if (!said) return std::optional<std::string>{};
  const std::string state(host::trimmed(*said));
  if (state == "InService" || state == "Detached") return std::optional<std::string>{};  // Detached: it goes on elsewhere.
  if (state == "Terminated" || state == "Standby" || state.starts_with("Warmed:")) {
    return std::optional("Auto Scaling: the target lifecycle state is " + state.substr(0, 50));
  }
  return fail(ErrorCode::unreachable, "the metadata service gives no lifecycle state: '" + state.substr(0, 50) + "'");
}

/// {"action": "terminate", "time": "2017-09-18T08:22:00Z"}; whatever else it says, there is a notice.
std::optional<std::string> why_of_spot(const std::optional<std::string>& notice) {
  if (!notice) return std::nullopt;
  boost::system::error_code error;
  const json::value value = json::parse(*notice, error);
  if (error || !value.is_object()) return "Spot: an instance action is due";
  const auto text = [&](const char* name) {
    const std::string member = host::text_of(value.get_object(), name);
    return member.empty() ? "unknown" : member.substr(0, 50);
  };
  return "Spot: " + text("action") + " at " + text("time");
}

}  // namespace

struct Notices::Impl {
  using Answer = Expected<std::optional<std::string>>;

  Impl(asio::any_io_executor executor, std::shared_ptr<Metadata> metadata_in, Milliseconds poll_in,
       bool identity_known_in, Watcher watcher_in)
      : metadata(std::move(metadata_in)),
        poll(poll_in),
        identity_known(identity_known_in),
        watcher(std::move(watcher_in)),
        timer(executor),
        backoff(poll_in, std::max(poll_in, longest_pause), std::random_device{}()) {}

  static asio::awaitable<void> follow(std::shared_ptr<Impl> self) {
    while (!self->stopped) {
      const auto trouble = co_await look(self);
      if (self->stopped) co_return;
      if (trouble != self->trouble) self->watcher.on_trouble(self->trouble = trouble);
      if (!trouble) self->backoff.reset();
      self->timer.expires_after(trouble ? self->backoff.next() : self->poll);
      boost::system::error_code ignored;
      co_await self->timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
  }

  /// Why the service could not be asked, if so.
  static asio::awaitable<std::optional<std::string>> look(std::shared_ptr<Impl> self) {
    if (!self->identity_known) {
      std::string path = "instance-id";
      const Answer id = co_await self->metadata->get(std::move(path));
      if (!id) co_return id.error().message;
      if (!*id || !is_instance_id(**id)) co_return "the metadata service gives no instance-id";
      if (!self->stopped) {
        self->identity_known = true;
        self->watcher.on_identity(**id);
      }
    }
    std::string path = "autoscaling/target-lifecycle-state";
    const Answer lifecycle = co_await self->metadata->get(std::move(path));
    const Answer of_lifecycle = lifecycle ? why_of_lifecycle(*lifecycle) : lifecycle;
    path = "spot/instance-action";
    const Answer spot = co_await self->metadata->get(std::move(path));
    // Either alone is a reason to leave; only both together take one back.
    std::optional<std::string> why = spot ? why_of_spot(*spot) : std::nullopt;
    if (!why && of_lifecycle) why = *of_lifecycle;
    const bool known = why || (spot && of_lifecycle);
    if (known && why != self->leaving && !self->stopped) self->watcher.on_leave(self->leaving = why);
    if (!of_lifecycle) co_return of_lifecycle.error().message;
    if (!spot) co_return spot.error().message;
    co_return std::nullopt;
  }

  std::shared_ptr<Metadata> metadata;
  Milliseconds poll;
  bool identity_known;
  Watcher watcher;
  asio::steady_timer timer;
  Backoff backoff;
  std::optional<std::string> leaving;
  std::optional<std::string> trouble;
  bool stopped = false;
};

Notices::Notices(asio::any_io_executor executor, std::shared_ptr<Metadata> metadata, Milliseconds poll,
                 bool identity_known, Watcher watcher)
    : impl_(std::make_shared<Impl>(executor, std::move(metadata), poll, identity_known, std::move(watcher))) {
  host::spawn(executor, "instance notices", Impl::follow(impl_));
}

Notices::~Notices() {
  impl_->stopped = true;
  impl_->timer.cancel();
}

}  // namespace dualdeploy::instance
