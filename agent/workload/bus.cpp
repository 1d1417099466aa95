#include "workload/bus.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <time.h>
#include <unistd.h>

#include <boost/asio/experimental/channel.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>
#include <deque>
#include <map>
#include <set>
#include <vector>

#include "host/spawn.hpp"

namespace dualdeploy::workload {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

constexpr Milliseconds first_retry{100};
constexpr Milliseconds last_retry{5'000};
constexpr std::uint64_t call_deadline_usec = 25'000'000;
constexpr std::size_t remembered_jobs = 256;
constexpr Milliseconds job_patience{10'000};  ///< So long a job is waited for without a connection.
constexpr const char* systemd_name = "org.freedesktop.systemd1";
constexpr const char* properties_interface = "org.freedesktop.DBus.Properties";
constexpr const char* job_interface = "org.freedesktop.systemd1.Job";

BusMessage referenced(sd_bus_message* message) { return {sd_bus_message_ref(message), sd_bus_message_unref}; }

/// Nobody was there to answer, unlike systemd saying no. During a re-execution its name has no owner.
bool is_silence(const sd_bus_error* error) {
  for (const char* name : {SD_BUS_ERROR_NO_REPLY, SD_BUS_ERROR_TIMEOUT, SD_BUS_ERROR_DISCONNECTED,
                           SD_BUS_ERROR_SERVICE_UNKNOWN, SD_BUS_ERROR_NAME_HAS_NO_OWNER}) {
    if (::sd_bus_error_has_name(error, name) > 0) return true;
  }
  return false;
}

struct PendingCall {
  explicit PendingCall(const asio::any_io_executor& executor) : channel(executor, 1) {}
  asio::experimental::channel<void(error_code, Expected<BusMessage>)> channel;
};

}  // namespace

struct Bus::Impl : std::enable_shared_from_this<Impl> {
  explicit Impl(const asio::any_io_executor& executor_in)
      : executor(executor_in), descriptor(executor_in), timer(executor_in), retry_timer(executor_in) {}

  ~Impl() { drop(); }

  // ---- Connection ------------------------------------------------------------------------------------------------

  void connect() {
    if (ended) return;
    sd_bus* opened = nullptr;
    int result = ::sd_bus_open_system(&opened);
    if (result >= 0) {
      bus = opened;
      result = subscribe();
    }
    if (result >= 0) result = take_descriptor();
    if (result < 0) {
      disconnected(-result);
      return;
    }
    seed_wanted = true;
    pump();
  }

  /// A descriptor of our own: Asio's close must not close libsystemd's.
  int take_descriptor() {
    const int copy = ::fcntl(::sd_bus_get_fd(bus), F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return -errno;
    error_code error;
    descriptor.assign(copy, error);
    if (!error) return 0;
    ::close(copy);
    return -error.value();
  }

  /// Only queues: whether the bus answers shows later, and nothing may hold up the loop meanwhile. The bus handles the
  /// matches before any call that is made after them.
  int subscribe() {
    const std::string manager = std::string("type='signal',sender='") + systemd_name + "',path='" + manager_path +
                                "',interface='" + manager_interface + "',member='";
    const std::string owner = std::string("type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',") +
                              "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" + systemd_name + "'";
    for (const auto& [rule, handler] : {std::pair{manager + "JobRemoved'", &Impl::on_job_removed},
                                        std::pair{manager + "Reloading'", &Impl::on_reloading},
                                        std::pair{owner, &Impl::on_owner_changed}}) {
      const int result = ::sd_bus_add_match_async(bus, nullptr, rule.c_str(), handler, nullptr, this);
      if (result < 0) return result;
    }
    return 0;
  }

  void ask_for_signals() {
    (void)::sd_bus_call_method_async(bus, nullptr, systemd_name, manager_path, manager_interface, "Subscribe", nullptr,
                                     nullptr, nullptr);
  }

  void watch(const std::string& path) {
    if (bus == nullptr || watched.contains(path)) return;
    const std::string rule = std::string("type='signal',sender='") + systemd_name + "',path='" + path + "',interface='" +
                             properties_interface + "',member='PropertiesChanged'";
    const int result = ::sd_bus_add_match_async(bus, nullptr, rule.c_str(), &Impl::on_properties_changed, nullptr, this);
    if (result < 0) {
      spdlog::warn("bus: cannot watch {}: {}", path, std::strerror(-result));
      return;
    }
    watched.insert(path);
    arm(false);
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
    reading = writing = seed_wanted = jobs_ended = false;
    watched.clear();
    changed.clear();
    ++epoch;
  }

  void fail_calls(const std::string& why) {
    for (auto& [id, pending] : std::exchange(calls, {})) {
      pending->channel.try_send(error_code{}, fail(ErrorCode::unreachable, why));
    }
  }

  void wake_job_waits() {
    for (const auto& waiting : std::exchange(job_waits, {})) {
      if (const auto wait = waiting.lock()) wait->cancel();
    }
  }

  void disconnected(int why) {
    drop();
    lost_at = std::chrono::steady_clock::now();
    const std::string text = std::string("the system bus does not answer: ") + std::strerror(why);
    fail_calls(text);
    wake_job_waits();
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
    if (::sd_bus_is_ready(bus) > 0) retry = first_retry;
    deliver();
    if (bus == nullptr) return;
    arm(result > 0);
  }

  /// Tells what the callbacks have gathered, outside of them.
  void deliver() {
    if (std::exchange(seed_wanted, false)) {
      changed.clear();
      ++seeds;
      jobs_ended = true;
      ask_for_signals();
      each([](Listener& listener) { listener.seed(); });
    }
    for (const std::string& path : std::exchange(changed, {})) {
      each([&path](Listener& listener) { listener.unit_changed(path); });
    }
    if (std::exchange(jobs_ended, false)) wake_job_waits();
  }

  void arm(bool more) {
    if (bus == nullptr) return;
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
      self->changed.emplace(path);
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
      self->jobs_ended = true;
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
        answer = fail(is_silence(error) ? ErrorCode::unreachable : ErrorCode::failed,
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

  static asio::awaitable<Expected<BusMessage>> call(std::shared_ptr<Impl> impl, std::string path, std::string interface,
                                                    std::string member, std::vector<std::string> arguments) {
    if (impl->bus == nullptr) co_return fail(ErrorCode::unreachable, "there is no connection to the system bus");
    const auto pending = std::make_shared<PendingCall>(impl->executor);
    const int result = impl->send(pending, path, interface, member, arguments);
    if (result < 0) co_return fail_errno("cannot call systemd", -result);
    impl->arm(false);
    co_return co_await pending->channel.async_receive(asio::use_awaitable);
  }

  [[nodiscard]] std::optional<std::string> result_of(const std::string& job_path) const {
    for (const auto& [path, result] : jobs) {
      if (path == job_path) return result;
    }
    return std::nullopt;
  }

  /// A signal may have been missed: false when systemd says that there is no such job any more.
  static asio::awaitable<bool> job_exists(std::shared_ptr<Impl> impl, std::string job_path) {
    std::vector<std::string> arguments{job_interface, "State"};
    const auto state = co_await call(impl, std::move(job_path), properties_interface, "Get", std::move(arguments));
    co_return state || state.error().code == ErrorCode::unreachable;
  }

  asio::any_io_executor executor;
  asio::posix::stream_descriptor descriptor;
  asio::steady_timer timer;
  asio::steady_timer retry_timer;
  Milliseconds retry = first_retry;
  sd_bus* bus = nullptr;
  bool connecting = false;
  bool reading = false;
  bool writing = false;
  bool seed_wanted = false;
  bool jobs_ended = false;
  bool ended = false;  ///< The Bus is gone; coroutines may still hold this.
  std::chrono::steady_clock::time_point lost_at{};
  std::uint64_t seeds = 0;  ///< How often signals may have been missed.
  std::uint64_t epoch = 0;  ///< Waits of an earlier connection are void.
  std::uint64_t last_call = 0;
  std::map<std::uint64_t, std::shared_ptr<PendingCall>> calls;
  std::deque<std::pair<std::string, std::string>> jobs;  ///< Path and result of those that ended last.
  std::vector<std::weak_ptr<asio::steady_timer>> job_waits;  ///< Cancelled when something about jobs is new.
  std::set<std::string> watched;  ///< Objects whose changes this connection asked for.
  std::set<std::string> changed;  ///< Of those, the ones that changed and whose listeners were not told yet.
  std::vector<std::weak_ptr<Listener>> listeners;
};

Bus::Bus(asio::any_io_executor executor) : impl_(std::make_shared<Impl>(executor)) {}

Bus::~Bus() {
  impl_->ended = true;
  impl_->retry_timer.cancel();
  impl_->drop();
  // Later: this may run while the loop itself is being destroyed, and with it the channels of those that wait.
  asio::post(impl_->executor, [impl = impl_] {
    impl->fail_calls("the connection to the system bus was closed");
    impl->wake_job_waits();
  });
}

void Bus::watch(const std::string& object_path) { impl_->watch(object_path); }

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
  return Impl::call(impl_, std::move(object_path), std::move(interface), std::move(member), std::move(arguments));
}

asio::awaitable<Expected<std::string>> Bus::job_result(std::string job_path, Milliseconds deadline) {
  const auto impl = impl_;
  const auto until = std::chrono::steady_clock::now() + deadline;
  // One for each that waits: setting a timer anew wakes whoever waits for it.
  const auto timer = std::make_shared<asio::steady_timer>(impl->executor);
  std::uint64_t seeds = impl->seeds;
  for (;;) {
    if (auto result = impl->result_of(job_path)) co_return std::move(*result);
    const auto now = std::chrono::steady_clock::now();
    if (now >= until) {
      co_return fail(ErrorCode::timed_out, "systemd did not finish the job within " + format_duration(deadline));
    }
    const bool connected = impl->bus != nullptr;
    const auto patience_ends = impl->lost_at + job_patience;
    if (impl->ended || (!connected && now >= patience_ends)) {
      co_return fail(ErrorCode::unreachable, "the connection to the system bus was lost");
    }
    if (connected && seeds != impl->seeds) {
      seeds = impl->seeds;
      const bool exists = co_await Impl::job_exists(impl, job_path);
      if (!exists && !impl->result_of(job_path)) co_return std::string(job_forgotten);
      continue;
    }
    error_code woken;
    timer->expires_at(connected ? until : std::min(until, patience_ends));
    impl->job_waits.push_back(timer);
    co_await timer->async_wait(asio::redirect_error(asio::use_awaitable, woken));
  }
}

}  // namespace dualdeploy::workload
