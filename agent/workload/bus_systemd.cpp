#include <list>
#include <map>
#include <string_view>

#include "workload/bus.hpp"
#include "workload/systemd.hpp"

namespace dualdeploy::workload {
namespace {

namespace asio = boost::asio;

constexpr Milliseconds job_deadline{95'000};

/// Reads one a{sv} into the view; what is not known is skipped.
int read_properties(sd_bus_message* message, UnitView& view) {
  const std::map<std::string_view, std::string*> texts{{"LoadState", &view.load_state},
                                                       {"ActiveState", &view.active_state},
                                                       {"SubState", &view.sub_state},
                                                       {"Result", &view.result}};
  const std::map<std::string_view, std::int64_t*> numbers{
      {"MainPID", &view.main_pid}, {"ExecMainCode", &view.exit_code}, {"ExecMainStatus", &view.exit_status},
      {"NRestarts", &view.restarts}};
  int result = ::sd_bus_message_enter_container(message, SD_BUS_TYPE_ARRAY, "{sv}");
  while (result > 0 && (result = ::sd_bus_message_enter_container(message, SD_BUS_TYPE_DICT_ENTRY, "sv")) > 0) {
    const char* key = nullptr;
    if ((result = ::sd_bus_message_read(message, "s", &key)) < 0) return result;
    const std::string_view name(key);
    if (const auto text = texts.find(name); text != texts.end()) {
      const char* value = nullptr;
      if ((result = ::sd_bus_message_read(message, "v", "s", &value)) < 0) return result;
      *text->second = value;
    } else if (const auto number = numbers.find(name); number != numbers.end()) {
      std::int32_t value = 0;
      const char* type = name == "MainPID" || name == "NRestarts" ? "u" : "i";
      if ((result = ::sd_bus_message_read(message, "v", type, &value)) < 0) return result;
      *number->second = value;
    } else if ((result = ::sd_bus_message_skip(message, "v")) < 0) {
      return result;
    }
    if ((result = ::sd_bus_message_exit_container(message)) < 0) return result;
    result = 1;
  }
  return result;
}

std::string method_of(UnitJob job) {
  switch (job) {
    case UnitJob::start: return "StartUnit";
    case UnitJob::restart: return "RestartUnit";
    case UnitJob::stop: return "StopUnit";
  }
  return {};
}

/// One unit that somebody listens to.
struct Watched final : Bus::Listener {
  Watched(std::string unit_in, std::weak_ptr<Systemd::Listener> listener_in)
      : unit(std::move(unit_in)), listener(std::move(listener_in)) {}

  void seed() override {
    object_path.clear();
    tell();
  }
  void unit_changed(const std::string& path) override {
    if (path == object_path) tell();
  }
  void lost(const std::string& why) override {
    if (const auto told = listener.lock()) told->lost(why);
  }
  void tell() const {
    if (const auto told = listener.lock()) told->changed();
  }

  std::string unit;
  std::weak_ptr<Systemd::Listener> listener;
  std::string object_path;
};

class BusSystemd final : public Systemd, public std::enable_shared_from_this<BusSystemd> {
 public:
  explicit BusSystemd(asio::any_io_executor executor) : bus_(std::move(executor)) {}

  void listen(const std::string& unit, const std::shared_ptr<Listener>& listener) override {
    watched_.remove_if([](const std::shared_ptr<Watched>& each) { return each->listener.expired(); });
    watched_.push_back(std::make_shared<Watched>(unit, listener));
    bus_.listen(watched_.back());
  }

  asio::awaitable<Expected<UnitView>> read(std::string unit) override {
    const auto self = shared_from_this();
    std::vector<std::string> name{unit};
    auto loaded = co_await bus_.call(manager_path, manager_interface, "LoadUnit", std::move(name));
    if (!loaded) co_return std::unexpected(loaded.error());
    const char* path = nullptr;
    if (::sd_bus_message_read(loaded->get(), "o", &path) < 0) co_return fail("systemd's answer is not understood");
    const std::string object_path = path;
    for (const auto& each : watched_) {
      if (each->unit == unit) each->object_path = object_path;
    }
    bus_.watch(object_path);
    // All interfaces in one answer, so that the state and the process belong together.
    std::vector<std::string> all_interfaces{""};
    auto all = co_await bus_.call(object_path, "org.freedesktop.DBus.Properties", "GetAll", std::move(all_interfaces));
    if (!all) co_return std::unexpected(all.error());
    UnitView view;
    if (read_properties(all->get(), view) < 0) co_return fail("systemd's answer is not understood");
    co_return view;
  }

  asio::awaitable<Expected<void>> run(UnitJob job, std::string unit) override {
    const auto self = shared_from_this();
    const std::string what = method_of(job) + " " + unit;
    std::vector<std::string> arguments{unit, "replace"};
    auto started = co_await bus_.call(manager_path, manager_interface, method_of(job), std::move(arguments));
    if (!started) co_return std::unexpected(std::move(started.error()).within(what));
    const char* path = nullptr;
    if (::sd_bus_message_read(started->get(), "o", &path) < 0) co_return fail("systemd's answer is not understood");
    auto result = co_await bus_.job_result(path, job_deadline);
    if (!result) co_return std::unexpected(std::move(result.error()).within(what));
    if (*result == job_forgotten) co_return co_await by_state(job, std::move(unit));
    if (*result == "done" || *result == "skipped") co_return Expected<void>{};
    co_return fail(what + ": the job ended as '" + *result + "'; systemctl status " + unit);
  }

 private:
  /// The job ended unseen: what it was for tells whether it was done.
  asio::awaitable<Expected<void>> by_state(UnitJob job, std::string unit) {
    const std::string what = method_of(job) + " " + unit;
    auto view = co_await read(unit);
    if (!view) co_return std::unexpected(std::move(view.error()).within(what));
    const bool down = view->active_state == "inactive" || view->active_state == "failed";
    if (job == UnitJob::stop ? down : is_up(*view)) co_return Expected<void>{};
    co_return fail(what + ": the job is gone and the unit is " + view->active_state + "; systemctl status " + unit);
  }

  Bus bus_;
  std::list<std::shared_ptr<Watched>> watched_;
};

}  // namespace

std::shared_ptr<Systemd> make_bus_systemd(asio::any_io_executor executor) {
  return std::make_shared<BusSystemd>(std::move(executor));
}

}  // namespace dualdeploy::workload
