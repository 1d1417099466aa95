#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <charconv>
#include <csignal>
#include <map>
#include <sstream>
#include <string_view>

#include "host/clock.hpp"
#include "host/command.hpp"
#include "host/text.hpp"
#include "host/spawn.hpp"
#include "workload/systemd.hpp"

namespace dualdeploy::workload {
namespace {

namespace asio = boost::asio;

constexpr Milliseconds job_deadline{95'000};
constexpr Milliseconds show_deadline{10'000};
constexpr Milliseconds look_interval{2'000};
constexpr Milliseconds transition_interval{500};

std::string verb_of(UnitJob job) {
  switch (job) {
    case UnitJob::start: return "start";
    case UnitJob::restart: return "restart";
    case UnitJob::stop: return "stop";
  }
  return {};
}

std::int64_t number_of(std::string_view text) {
  // Newer versions name what 219 numbers: si_code of waitid(2).
  if (text == "exited") return CLD_EXITED;
  if (text == "killed") return CLD_KILLED;
  if (text == "dumped") return CLD_DUMPED;
  std::int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

/// NAME=VALUE lines; what a version does not know is not in them.
UnitView view_of(const std::string& shown) {
  UnitView view;
  const std::map<std::string_view, std::string*> texts{{"LoadState", &view.load_state},
                                                       {"ActiveState", &view.active_state},
                                                       {"SubState", &view.sub_state},
                                                       {"Result", &view.result}};
  const std::map<std::string_view, std::int64_t*> numbers{{"MainPID", &view.main_pid},
                                                          {"ExecMainCode", &view.exit_code},
                                                          {"ExecMainStatus", &view.exit_status},
                                                          {"NRestarts", &view.restarts}};
  std::istringstream lines(shown);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t equals = line.find('=');
    if (equals == std::string::npos) continue;
    const std::string_view name = std::string_view(line).substr(0, equals);
    const std::string_view value = std::string_view(line).substr(equals + 1);
    if (const auto text = texts.find(name); text != texts.end()) *text->second = value;
    if (const auto number = numbers.find(name); number != numbers.end()) *number->second = number_of(value);
  }
  return view;
}

/// systemd re-executed itself under systemctl's hands: what became of the job is not known.
bool lost_systemd(const std::string& error) {
  for (const char* sign : {"Connection reset", "Connection timed out", "Connection refused", "Transport endpoint",
                           "Failed to wait for response", "Remote peer disconnected", "connection terminated"}) {
    if (error.find(sign) != std::string::npos) return true;
  }
  return false;
}

class Systemctl final : public Systemd, public std::enable_shared_from_this<Systemctl> {
 public:
  explicit Systemctl(asio::any_io_executor executor) : executor_(std::move(executor)) {}

  void listen(const std::string&, const std::shared_ptr<Listener>& listener) override {
    listener->changed();
    host::spawn(executor_, "unit polling", look_again(executor_, listener));
  }

  asio::awaitable<Expected<UnitView>> read(std::string unit) override {
    host::Command command;
    command.argv = {"systemctl", "show", unit};
    for (const char* property : {"LoadState", "ActiveState", "SubState", "Result", "MainPID", "ExecMainCode", "ExecMainStatus",
                                 "NRestarts"}) {
      command.argv.insert(command.argv.end(), {"-p", property});
    }
    host::CommandLimits limits;
    limits.deadline = show_deadline;
    auto shown = co_await host::run_command(std::move(command), limits);
    if (!shown) co_return std::unexpected(std::move(shown.error()).within("systemctl show"));
    if (shown->exit_status != 0) co_return fail(ErrorCode::unreachable, "systemctl show: " + host::first_line(shown->error));
    UnitView view = view_of(shown->output);
    if (view.active_state.empty()) co_return fail("systemctl show says nothing of " + unit);
    co_return view;
  }

  asio::awaitable<Expected<void>> run(UnitJob job, std::string unit) override {
    const auto self = shared_from_this();
    const std::string what = verb_of(job) + " " + unit;
    const Instant deadline = host::now() + job_deadline;
    host::Command command;
    command.argv = {"systemctl", verb_of(job), unit};
    host::CommandLimits limits;
    limits.deadline = job_deadline;
    auto ended = co_await host::run_command(std::move(command), limits);
    if (!ended) co_return std::unexpected(std::move(ended.error()).within(what));
    if (ended->exit_status == 0) co_return Expected<void>{};
    if (!lost_systemd(ended->error)) co_return fail(what + ": " + host::first_line(ended->error));
    co_return co_await by_state(job, std::move(unit), deadline);
  }

 private:
  static asio::awaitable<void> look_again(asio::any_io_executor executor, std::weak_ptr<Listener> weak) {
    asio::steady_timer timer(executor);
    for (;;) {
      boost::system::error_code ignored;
      timer.expires_after(look_interval);
      co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      const auto listener = weak.lock();
      if (!listener) co_return;
      listener->changed();
    }
  }

  /// The job went on unseen: waits until the unit is nowhere in between, and judges by where it is.
  asio::awaitable<Expected<void>> by_state(UnitJob job, std::string unit, Instant deadline) {
    const std::string what = verb_of(job) + " " + unit;
    asio::steady_timer timer(executor_);
    std::string state = "not to be asked";
    while (host::now() < deadline) {
      auto view = co_await read(unit);
      if (view) {
        state = view->active_state;
        const bool down = state == "inactive" || state == "failed";
        if (job == UnitJob::stop ? down : is_up(*view)) co_return Expected<void>{};
        if (down || is_up(*view)) break;
      }
      boost::system::error_code ignored;
      timer.expires_after(transition_interval);
      co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    co_return fail(what + ": systemd was lost in between, and the unit is " + state + "; systemctl status " + unit);
  }

  asio::any_io_executor executor_;
};

}  // namespace

std::shared_ptr<Systemd> make_systemctl(asio::any_io_executor executor) {
  return std::make_shared<Systemctl>(std::move(executor));
}

}  // namespace dualdeploy::workload
