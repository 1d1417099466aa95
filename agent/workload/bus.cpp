#include "workload/bus.hpp"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <time.h>
#include <unistd.h>

#include <boost/asio/experimental/channel.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>
#include <deque>
#include <map>

#include "host/spawn.hpp"

namespace dualdeploy::workload {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

constexpr Milliseconds first_retry{100};
constexpr Milliseconds last_retry{5'000};
constexpr std::uint64_t call_deadline_usec = 25'000'000;
constexpr std::size_t remembered_jobs = 256;
constexpr const char* systemd_name = "org.freedesktop.systemd1";

BusMessage referenced(sd_bus_message* message) { return {sd_bus_message_ref(message), sd_bus_message_unref}; }

struct PendingCall {
  explicit PendingCall(const asio::any_io_executor& executor) : channel(executor, 1) {}
  asio::experimental::channel<void(error_code, Expected<BusMessage>)> channel;
};

}  // namespace

struct Bus::Impl : std::enable_shared_from_this<Impl> {
  explicit Impl(const asio::any_io_executor& executor_in)
      : executor(executor_in), descriptor(executor_in), timer(executor_in), retry_timer(executor_in), jobs_changed(executor_in) {}

  ~Impl() { drop(); }

  // ---- Connection ------------------------------------------------------------------------------------------------

  void connect() {
    sd_bus* opened = nullptr;
    int result = ::sd_bus_open_system(&opened);
    if (result >= 0) {
      bus = opened;
      result = subscribe();
    }
    if (result < 0) {
      disconnected(-result);
      return;
    }
    // A descriptor of our own: Asio's close must not close libsystemd's.
    descriptor.assign(::dup(::sd_bus_get_fd(bus)));
    retry = first_retry;
    pump();
    each([](Listener& listener) { listener.seed(); });
  }

  int subscribe() {
    const int matched = ::sd_bus_match_signal(bus, nullptr, systemd_name, nullptr, "org.freedesktop.DBus.Properties",
                                              "PropertiesChanged", &Impl::on_properties_changed, this);
    if (matched < 0) return matched;
    for (const auto& [member, handler] :
         {std::pair{"JobRemoved", &Impl::on_job_removed}, std::pair{"Reloading", &Impl::on_reloading}}) {
      const int result = ::sd_bus_match_signal(bus, nullptr, systemd_name, manager_path, manager_interface, member, handler, this);
      if (result < 0) return result;
    }
    const int owner = ::sd_bus_match_signal(bus, nullptr, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                            "org.freedesktop.DBus", "NameOwnerChanged", &Impl::on_owner_changed, this);
    if (owner < 0) return owner;
    return ::sd_bus_call_method_async(bus, nullptr, systemd_name, manager_path, manager_interface, "Subscribe", nullptr,
                                      nullptr, nullptr);
  }

  void drop() {
    error_code ignored;
    timer.cancel();
    if (descriptor.is_open()) descriptor.close(ignored);
    if (bus != nullptr) {
      ::sd_bus_close(bus);
      ::sd_bus_unref(bus);
      bus = nullptr;
    }
    reading = writing = false;
    ++epoch;
  }

  void disconnected(int why) {
    drop();
    const std::string text = std::string("the system bus does not answer: ") + std::strerror(why);
    for (auto& [id, pending] : std::exchange(calls, {})) {
      pending->channel.try_send(error_code{}, fail(ErrorCode::unreachable, text));
    }
    each([&text](Listener& listener) { listener.lost(text); });
    retry_timer.expires_after(retry);
    retry = std::min(retry * 2, last_retry);
    retry_timer.async_wait([weak = weak_from_this()](const error_code& error) {
      if (const auto self = weak.lock(); self && !error) self->connect();
    });
  }

  /// Handles what has arrived, one message a call as sd_bus_process(3) has it, then waits for more. Never called from
  /// inside a callback of sd-bus.
  void pump() {
    if (bus == nullptr) return;
    constexpr int most_at_once = 256;
    int result = 1;
    for (int i = 0; i < most_at_once && result > 0; ++i) result = ::sd_bus_process(bus, nullptr);
    if (result < 0) {
      disconnected(-result);
      return;
    }
    if (std::exchange(seed_wanted, false)) {
      (void)::sd_bus_call_method_async(bus, nullptr, systemd_name, manager_path, manager_interface, "Subscribe", nullptr,
                                       nullptr, nullptr);
      each([](Listener& listener) { listener.seed(); });
    }
    if (bus == nullptr) return;
    arm(result > 0);
  }

  void arm(bool more) {
    const int events = ::sd_bus_get_events(bus);
    if (events < 0) {
      disconnected(-events);
      return;
    }
    const auto self = weak_from_this();
    if (!reading) {
      reading = true;
      descriptor.async_wait(asio::posix::descriptor_base::wait_read, [self, of = epoch](const error_code& error) {
        if (const auto alive = self.lock(); alive && alive->epoch == of && !error) alive->reading = false, alive->pump();
      });
    }
    if (!writing && (events & POLLOUT) != 0) {
      writing = true;
      descriptor.async_wait(asio::posix::descriptor_base::wait_write, [self, of = epoch](const error_code& error) {
        if (const auto alive = self.lock(); alive && alive->epoch == of && !error) alive->writing = false, alive->pump();
      });
    }
    std::uint64_t until = 0;
    const bool timed = ::sd_bus_get_timeout(bus, &until) >= 0 && until != UINT64_MAX;
    timer.cancel();
    if (!timed && !more) return;
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const std::uint64_t now_usec = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(now.tv_nsec) / 1'000;
    timer.expires_after(std::chrono::microseconds(more || until <= now_usec ? 0 : until - now_usec));
    timer.async_wait([self, of = epoch](const error_code& error) {
      if (const auto alive = self.lock(); alive && alive->epoch == of && !error) alive->pump();
    });
  }

  template <class Tell>
  void each(const Tell& tell) {
    std::erase_if(listeners, [](const std::weak_ptr<Listener>& listener) { return listener.expired(); });
    for (const auto& weak : std::vector(listeners)) {
      if (const auto listener = weak.lock()) tell(*listener);
    }
  }

  // ---- Callbacks of sd-bus: no exception may leave them ------------------------------------------------------------

  static int on_properties_changed(sd_bus_message* message, void* data, sd_bus_error* /*error*/) {
    auto* self = static_cast<Impl*>(data);
    const char* path = ::sd_bus_message_get_path(message);
    if (path == nullptr) return 0;
    try {
      self->each([path = std::string(path)](Listener& listener) { listener.unit_changed(path); });
    } catch (const std::exception& error) {
      spdlog::error("bus: {}", error.what());
    }
    return 0;
  }

  static int on_job_removed(sd_bus_message* message, void* data, sd_bus_error* /*error*/) {
    auto* self = static_cast<Impl*>(data);
    std::uint32_t id = 0;
    const char* job = nullptr;
    const char* unit = nullptr;
    const char* result = nullptr;
    if (::sd_bus_message_read(message, "uoss", &id, &job, &unit, &result) < 0) return 0;
    try {
      self->jobs.emplace_back(job, result);
      if (self->jobs.size() > remembered_jobs) self->jobs.pop_front();
      self->jobs_changed.cancel();
    } catch (const std::exception& error) {
      spdlog::error("bus: {}", error.what());
    }
    return 0;
  }

  static int on_reloading(sd_bus_message* message, void* data, sd_bus_error* /*error*/) {
    int active = 0;
    if (::sd_bus_message_read(message, "b", &active) >= 0 && active == 0) static_cast<Impl*>(data)->seed_wanted = true;
    return 0;
  }

  static int on_owner_changed(sd_bus_message* message, void* data, sd_bus_error* /*error*/) {
    const char* name = nullptr;
    const char* before = nullptr;
    const char* after = nullptr;
    if (::sd_bus_message_read(message, "sss", &name, &before, &after) < 0) return 0;
    if (std::strcmp(name, systemd_name) == 0 && *after != '\0') static_cast<Impl*>(data)->seed_wanted = true;
    return 0;
  }

  struct CallContext {
    std::weak_ptr<Impl> impl;
    std::uint64_t id;
  };

  static int on_reply(sd_bus_message* message, void* data, sd_bus_error* /*error*/) {
    const auto* context = static_cast<CallContext*>(data);
    const auto self = context->impl.lock();
    if (!self) return 0;
    const auto found = self->calls.find(context->id);
    if (found == self->calls.end()) return 0;
    try {
      const sd_bus_error* error = ::sd_bus_message_get_error(message);
      Expected<BusMessage> answer = referenced(message);
      if (error != nullptr) {
        const bool silent = ::sd_bus_error_has_name(error, SD_BUS_ERROR_NO_REPLY) > 0 ||
                            ::sd_bus_error_has_name(error, SD_BUS_ERROR_TIMEOUT) > 0;
        answer = fail(silent ? ErrorCode::unreachable : ErrorCode::failed,
                      std::string("systemd: ") + (error->message != nullptr ? error->message : error->name));
      }
      found->second->channel.try_send(error_code{}, std::move(answer));
      self->calls.erase(found);
    } catch (const std::exception& problem) {
      spdlog::error("bus: {}", problem.what());
    }
    return 0;
  }

  int send(const std::shared_ptr<PendingCall>& pending, const std::string& path, const std::string& interface,
           const std::string& member, const std::vector<std::string>& arguments) {
    sd_bus_message* raw = nullptr;
    int result = ::sd_bus_message_new_method_call(bus, &raw, systemd_name, path.c_str(), interface.c_str(), member.c_str());
    if (result < 0) return result;
    const BusMessage message(raw, ::sd_bus_message_unref);
    for (const std::string& argument : arguments) {
      result = ::sd_bus_message_append_basic(raw, 's', argument.c_str());
      if (result < 0) return result;
    }
    const std::uint64_t id = ++last_call;
    auto context = std::make_unique<CallContext>(CallContext{weak_from_this(), id});
    sd_bus_slot* slot = nullptr;
    result = ::sd_bus_call_async(bus, &slot, raw, &Impl::on_reply, context.get(), call_deadline_usec);
    if (result < 0) return result;
    // The context lives as long as the slot, and the slot until the reply was handled or the connection ends.
    ::sd_bus_slot_set_destroy_callback(slot, [](void* data) { delete static_cast<CallContext*>(data); });
    (void)context.release();
    ::sd_bus_slot_set_floating(slot, 1);
    ::sd_bus_slot_unref(slot);
    calls[id] = pending;
    return 0;
  }

  asio::any_io_executor executor;
  asio::posix::stream_descriptor descriptor;
  asio::steady_timer timer;
  asio::steady_timer retry_timer;
  asio::steady_timer jobs_changed;  ///< Cancelled whenever a job ended.
  Milliseconds retry = first_retry;
  sd_bus* bus = nullptr;
  bool connecting = false;
  bool reading = false;
  bool writing = false;
  bool seed_wanted = false;
  std::uint64_t epoch = 0;  ///< Waits of an earlier connection are void.
  std::uint64_t last_call = 0;
  std::map<std::uint64_t, std::shared_ptr<PendingCall>> calls;
  std::deque<std::pair<std::string, std::string>> jobs;  ///< Path and result of those that ended last.
  std::vector<std::weak_ptr<Listener>> listeners;
};

Bus::Bus(asio::any_io_executor executor) : impl_(std::make_shared<Impl>(executor)) {}

Bus::~Bus() {
  impl_->retry_timer.cancel();
  impl_->jobs_changed.cancel();
  impl_->drop();
}

void Bus::listen(const std::shared_ptr<Listener>& listener) {
  impl_->listeners.push_back(listener);
  if (impl_->bus != nullptr) {
    listener->seed();
  } else if (!std::exchange(impl_->connecting, true)) {
    impl_->connect();
  }
}

asio::awaitable<Expected<BusMessage>> Bus::call(std::string object_path, std::string interface, std::string member,
                                                std::vector<std::string> arguments) {
  const auto impl = impl_;
  if (impl->bus == nullptr) co_return fail(ErrorCode::unreachable, "there is no connection to the system bus");
  const auto pending = std::make_shared<PendingCall>(impl->executor);
  const int result = impl->send(pending, object_path, interface, member, arguments);
  if (result < 0) co_return fail_errno("cannot call systemd", -result);
  impl->arm(false);
  co_return co_await pending->channel.async_receive(asio::use_awaitable);
}

asio::awaitable<Expected<std::string>> Bus::job_result(std::string job_path, Milliseconds deadline) {
  const auto impl = impl_;
  const auto until = std::chrono::steady_clock::now() + deadline;
  for (;;) {
    for (const auto& [path, result] : impl->jobs) {
      if (path == job_path) co_return result;
    }
    if (impl->bus == nullptr) co_return fail(ErrorCode::unreachable, "the connection to the system bus was lost");
    if (std::chrono::steady_clock::now() >= until) {
      co_return fail(ErrorCode::timed_out, "systemd did not finish the job within " + format_duration(deadline));
    }
    error_code woken;
    asio::steady_timer& timer = impl->jobs_changed;
    timer.expires_at(until);
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, woken));
  }
}

}  // namespace dualdeploy::workload
