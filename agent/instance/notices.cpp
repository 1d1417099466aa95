#include "instance/notices.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json.hpp>
#include <random>

#include "host/spawn.hpp"

namespace dualdeploy::instance {

namespace asio = boost::asio;
namespace json = boost::json;

namespace {

constexpr Milliseconds longest_pause{60'000};

/// docs.aws.amazon.com/autoscaling: "Retrieve the target lifecycle state through instance metadata".
std::optional<std::string> why_of_lifecycle(const std::optional<std::string>& state) {
  if (!state || *state == "InService") return std::nullopt;
  return "Auto Scaling: the target lifecycle state is " + state->substr(0, 50);
}

/// {"action": "terminate", "time": "2017-09-18T08:22:00Z"}; whatever else it says, there is a notice.
std::optional<std::string> why_of_spot(const std::optional<std::string>& notice) {
  if (!notice) return std::nullopt;
  boost::system::error_code error;
  const json::value value = json::parse(*notice, error);
  if (error || !value.is_object()) return "Spot: an instance action is due";
  const auto text = [&](const char* name) {
    const json::value* member = value.get_object().if_contains(name);
    return member != nullptr && member->is_string() ? std::string(member->get_string().subview(0, 50)) : std::string("unknown");
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
      if (*id && !self->stopped) {
        self->identity_known = true;
        self->watcher.on_identity(**id);
      }
    }
    std::string path = "autoscaling/target-lifecycle-state";
    const Answer lifecycle = co_await self->metadata->get(std::move(path));
    if (!lifecycle) co_return lifecycle.error().message;
    path = "spot/instance-action";
    const Answer spot = co_await self->metadata->get(std::move(path));
    if (!spot) co_return spot.error().message;
    auto why = why_of_spot(*spot);
    if (!why) why = why_of_lifecycle(*lifecycle);
    if (why != self->leaving && !self->stopped) self->watcher.on_leave(self->leaving = why);
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
