#include "workload/container_side.hpp"

#include <spdlog/spdlog.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json.hpp>
#include <csignal>
#include <cstring>
#include <functional>
#include <utility>

#include "host/signal_name.hpp"
#include "host/spawn.hpp"
#include "workload/process_watch.hpp"

namespace dualdeploy::workload {

namespace asio = boost::asio;
namespace json = boost::json;

namespace {

constexpr Milliseconds first_retry{100};
constexpr Milliseconds last_retry{5'000};
/// An engine that hangs keeps its event stream open: it is asked from time to time.
constexpr Milliseconds look_again{10'000};

std::string ending_of(const EngineClient::Container& container) {
  constexpr int signal_base = 128;
  std::string text = "exited with status " + std::to_string(container.exit_code);
  const int signal = container.exit_code - signal_base;
  if (signal > 0 && signal < NSIG) text += " (" + host::signal_name(signal) + ")";
  if (container.oom_killed) text += ", killed for want of memory";
  if (!container.error.empty()) text += ": " + container.error;
  return text;
}

std::string label_of(const json::object& labels, std::string_view name) {
  const json::value* value = labels.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

}  // namespace

struct ContainerSide::Impl : std::enable_shared_from_this<Impl> {
  Impl(const asio::any_io_executor& executor_in, std::shared_ptr<EngineClient> engine_in, std::string service_in,
       config::ContainerSide config_in, Report report_in)
      : executor(executor_in), engine(std::move(engine_in)), service(std::move(service_in)),
        name(container_name(service)), config(std::move(config_in)), report(std::move(report_in)),
        process(executor_in, [this](pid_t pid) { main_process_died(pid); }), retry_timer(executor_in),
        look_timer(executor_in) {}

  // ---- Seeing ----------------------------------------------------------------------------------------------------

  void tell(Workload workload) {
    if (following->stopped || (told && workload == last)) return;
    told = true;
    last = workload;
    report(workload);
  }

  void main_process_died(pid_t pid) {
    dead_pid = pid;
    Workload workload = last;
    workload.state = RunState::failed;
    workload.pid = 0;
    workload.detail = "main process " + std::to_string(pid) + " died";
    tell(std::move(workload));
    look();
  }

  /// Asks the engine how things are; calls that come meanwhile make it ask once more.
  void look() {
    if (looking) {
      look_once_more = true;
      return;
    }
    looking = true;
    host::spawn(executor, "container state", look_until_seen(shared_from_this()));
  }

  static asio::awaitable<void> look_until_seen(std::shared_ptr<Impl> self) {
    do {
      self->look_once_more = false;
      Workload seen = co_await self->observe();
      if (!self->following->stopped) self->tell(std::move(seen));
    } while (self->look_once_more && !self->following->stopped);
    self->looking = false;
  }

  asio::awaitable<Workload> observe() {
    auto found = co_await engine->inspect_container(name);
    if (!found) co_return unknown(found.error());
    if (!*found) co_return co_await observe_image();
    const EngineClient::Container& container = **found;
    Workload workload;
    workload.artifact = container.image_id;
    workload.revision = co_await revision_of(container.image_id);
    // The engine may be slower than the kernel to see a death.
    if (container.running && container.pid > 0 && container.pid != dead_pid) {
      workload.state = RunState::running;
      workload.pid = container.pid;
      workload.detail = co_await difference(container);
      workload.outdated = !workload.detail.empty();
      process.follow(static_cast<pid_t>(container.pid));
      co_return workload;
    }
    process.stop();
    if (!container.running) dead_pid = 0;
    if (container.running) {
      workload.state = RunState::failed;
      workload.detail = "main process " + std::to_string(dead_pid) + " died";
    } else if (container.status == "created") {
      workload.state = container.error.empty() ? RunState::stopped : RunState::failed;
      workload.detail = container.error.empty() ? "never started" : container.error;
    } else {
      workload.state = container.exit_code == 0 ? RunState::stopped : RunState::failed;
      workload.detail = ending_of(container);
    }
    co_return workload;
  }

  asio::awaitable<Workload> observe_image() {
    process.stop();
    auto image = co_await engine->inspect_image(config.image);
    if (!image) co_return unknown(image.error());
    Workload workload;
    if (*image) {
      workload.state = RunState::stopped;
      workload.detail = "there is no container yet";
      workload.artifact = (*image)->id;
      workload.revision = (*image)->revision;
    } else {
      workload.state = RunState::missing;
      workload.detail = no_image();
    }
    co_return workload;
  }

  [[nodiscard]] std::string no_image() const {
    return "image " + config.image + " is not on this machine; build it or load it (docker load), it is never pulled";
  }

  /// What is known of the process stays: only the engine is silent.
  [[nodiscard]] Workload unknown(const Error& error) const {
    Workload workload = last;
    if (known_to_be_dead()) return workload;
    workload.state = RunState::unknown;
    workload.detail = error.message;
    return workload;
  }
  [[nodiscard]] bool known_to_be_dead() const { return told && last.state == RunState::failed && last.pid == 0; }

  asio::awaitable<std::string> revision_of(const std::string& image_id) {
    if (revision_known_of == image_id) co_return revision;
    auto image = co_await engine->inspect_image(image_id);
    if (!image || !*image) co_return "";
    revision_known_of = image_id;
    revision = (*image)->revision;
    co_return revision;
  }

  asio::awaitable<std::string> difference(const EngineClient::Container& container) {
    auto image = co_await engine->inspect_image(config.image);
    if (!image || !*image) co_return "";
    if (as_configured(container, (*image)->id)) co_return "";
    co_return "runs with an older image or configuration, to be replaced once it has no traffic";
  }

  [[nodiscard]] bool as_configured(const EngineClient::Container& container, const std::string& image_id) const {
    const json::object wanted = create_body(service, config, image_id);
    return container.image_id == image_id &&
           label_of(container.labels, config_label) == label_of(wanted.at("Labels").as_object(), config_label);
  }

  static asio::awaitable<void> follow(std::shared_ptr<Impl> self) {
    Milliseconds retry = first_retry;
    const std::weak_ptr<Impl> weak = self;
    const std::function<void()> on_open = [weak] {
      if (const auto alive = weak.lock()) alive->look();
    };
    const EngineClient::OnEvent on_event = [weak](const EngineClient::Event& event) {
      const auto alive = weak.lock();
      if (alive && !event.action.starts_with("exec_") && !event.action.starts_with("top")) alive->look();
    };
    while (!self->following->stopped) {
      bool opened = false;
      const std::function<void()> note_open = [&opened, &on_open] {
        opened = true;
        on_open();
      };
      Error ended = co_await self->engine->follow_events(self->name, note_open, on_event, self->following);
      if (self->following->stopped) break;
      retry = opened ? first_retry : std::min(retry * 2, last_retry);
      self->tell(self->unknown(ended));
      boost::system::error_code woken;
      self->retry_timer.expires_after(retry);
      co_await self->retry_timer.async_wait(asio::redirect_error(asio::use_awaitable, woken));
    }
  }

  static asio::awaitable<void> keep_looking(std::shared_ptr<Impl> self) {
    // Containers that are watched from one moment on are not all looked at in one moment.
    Milliseconds pause = look_again * static_cast<std::int64_t>(std::hash<std::string>{}(self->name) % 1'000) / 1'000;
    while (!self->following->stopped) {
      boost::system::error_code woken;
      self->look_timer.expires_after(std::exchange(pause, look_again));
      co_await self->look_timer.async_wait(asio::redirect_error(asio::use_awaitable, woken));
      if (!self->following->stopped) self->look();
    }
  }

  // ---- Doing -----------------------------------------------------------------------------------------------------

  /// The container as configured, of the present image, and not running unless it was and `stop_first` is not asked for.
  asio::awaitable<Expected<void>> make_ready(bool stop_first) {
    auto image = co_await engine->inspect_image(config.image);
    if (!image) co_return std::unexpected(image.error());
    if (!*image) co_return fail(no_image());
    auto found = co_await engine->inspect_container(name);
    if (!found) co_return std::unexpected(found.error());
    const bool exists = found->has_value();
    const bool fits = exists && as_configured(**found, (*image)->id);
    if (exists && (*found)->running && (stop_first || !fits)) {
      auto down = co_await engine->stop(name, config.stop_timeout);
      if (!down) co_return down;
    }
    if (exists && !fits) {
      auto removed = co_await engine->remove(name);
      if (!removed) co_return removed;
    }
    if (!fits) {
      auto created = co_await engine->create(name, create_body(service, config, (*image)->id));
      if (!created) co_return created;
    }
    co_return Expected<void>{};
  }

  asio::awaitable<Expected<void>> bring_up(bool stop_first) {
    if (auto ready = co_await make_ready(stop_first); !ready) co_return ready;
    co_return co_await engine->start(name);
  }

  enum class Doing { start, restart, stop, prepare };
  asio::awaitable<Expected<void>> one_at_a_time(Doing doing) {
    const auto self = shared_from_this();
    if (std::exchange(busy, true)) co_return fail(ErrorCode::refused, "the container is being started or stopped already");
    Expected<void> done;
    switch (doing) {
      case Doing::start: done = co_await bring_up(false); break;
      case Doing::restart: done = co_await bring_up(true); break;
      case Doing::stop: done = co_await engine->stop(name, config.stop_timeout); break;
      case Doing::prepare: done = co_await make_ready(false); break;
    }
    busy = false;
    if (!following->stopped) look();
    co_return done;
  }

  asio::any_io_executor executor;
  std::shared_ptr<EngineClient> engine;
  std::string service;
  std::string name;
  config::ContainerSide config;
  Report report;
  ProcessWatch process;
  asio::steady_timer retry_timer;
  asio::steady_timer look_timer;
  std::shared_ptr<EngineClient::Following> following = std::make_shared<EngineClient::Following>();
  bool told = false;
  Workload last;
  std::int64_t dead_pid = 0;
  bool looking = false;
  bool look_once_more = false;
  bool busy = false;
  std::string revision_known_of;
  std::string revision;
};

ContainerSide::ContainerSide(asio::any_io_executor executor, std::shared_ptr<EngineClient> engine, std::string service,
                             config::ContainerSide config, Report report)
    : impl_(std::make_shared<Impl>(executor, std::move(engine), std::move(service), std::move(config), std::move(report))) {}

ContainerSide::~ContainerSide() {
  impl_->following->stop();
  impl_->process.stop();
  impl_->retry_timer.cancel();
  impl_->look_timer.cancel();
}

void ContainerSide::watch() {
  host::spawn(impl_->executor, "container events", Impl::follow(impl_));
  host::spawn(impl_->executor, "container watch", Impl::keep_looking(impl_));
}

asio::awaitable<void> ContainerSide::refresh() {
  const auto impl = impl_;
  if (impl->told) co_return;
  auto seen = co_await impl->observe();
  if (!impl->told && !impl->following->stopped) impl->tell(std::move(seen));
}
asio::awaitable<Expected<void>> ContainerSide::start() { return impl_->one_at_a_time(Impl::Doing::start); }
asio::awaitable<Expected<void>> ContainerSide::restart() { return impl_->one_at_a_time(Impl::Doing::restart); }
asio::awaitable<Expected<void>> ContainerSide::stop() { return impl_->one_at_a_time(Impl::Doing::stop); }
asio::awaitable<Expected<void>> ContainerSide::prepare() { return impl_->one_at_a_time(Impl::Doing::prepare); }

}  // namespace dualdeploy::workload
