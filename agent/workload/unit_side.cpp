#include "workload/unit_side.hpp"

#include <spdlog/spdlog.h>

#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <cstring>
#include <map>
#include <sstream>

#include "host/helper.hpp"
#include "host/signal_name.hpp"
#include "host/spawn.hpp"
#include "workload/process_watch.hpp"

namespace dualdeploy::workload {

namespace asio = boost::asio;

namespace {

/// A connection that is back so soon, as when systemd re-executes itself, was not worth a word.
constexpr Milliseconds patience{2'000};
constexpr Milliseconds first_retry{500};
constexpr Milliseconds last_retry{5'000};

std::string ending_of(const UnitView& view) {
  const int status = static_cast<int>(view.exit_status);
  switch (view.exit_code) {
    case CLD_EXITED: return "exited with status " + std::to_string(status);
    case CLD_KILLED:
    case CLD_DUMPED: return "killed by " + host::signal_name(status);
    default: return "";
  }
}

/// Results such as watchdog, timeout or oom-kill; the others only repeat how the process ended.
bool tells_more(const std::string& result) {
  return !result.empty() && result != "success" && result != "exit-code" && result != "signal" && result != "core-dump";
}

std::string detail_of(const UnitView& view, const std::string& unit) {
  if (view.load_state == "not-found") return "there is no unit " + unit;
  if (view.load_state == "masked") return "the unit is masked; systemctl unmask " + unit;
  if (view.load_state != "loaded") return "the unit cannot be loaded (" + view.load_state + "); systemctl status " + unit;
  if (view.result == "start-limit" || view.result == "start-limit-hit") {
    return "systemd gave up restarting it (" + view.result + "); systemctl reset-failed " + unit;
  }
  if (is_up(view)) return "";
  std::string text = ending_of(view);
  if (tells_more(view.result)) text += (text.empty() ? "" : ", ") + std::string("result ") + view.result;
  // Result stays what the last run ended with when the restarts have used up the start limit.
  if (view.active_state == "failed" && view.restarts > 0) {
    text += (text.empty() ? "" : ", ") + ("systemd gave up after " + std::to_string(view.restarts)) +
            " restarts; systemctl reset-failed " + unit;
  }
  if (view.sub_state == "auto-restart") text += (text.empty() ? "" : ", ") + std::string("systemd restarts it");
  return text;
}

RunState state_of(const UnitView& view) {
  if (view.load_state != "loaded") return RunState::missing;
  if (is_up(view)) return RunState::running;
  if (view.active_state == "activating") return RunState::starting;
  if (view.active_state == "deactivating") return RunState::stopping;
  if (view.active_state == "failed") return RunState::failed;
  return RunState::stopped;
}

}  // namespace

struct UnitSide::Impl final : Systemd::Listener, std::enable_shared_from_this<Impl> {
  Impl(const asio::any_io_executor& executor_in, std::shared_ptr<Systemd> systemd_in, config::RpmSide config_in, Report report_in)
      : executor(executor_in), systemd(std::move(systemd_in)), config(std::move(config_in)), report(std::move(report_in)),
        process(executor_in, [this](pid_t pid) { main_process_died(pid); }), patience_timer(executor_in),
        retry_timer(executor_in) {}

  // ---- Seeing ----------------------------------------------------------------------------------------------------

  void changed() override { look(); }
  void lost(const std::string& why) override {
    if (stopped) return;
    trouble = why;
    if (!told) return unknown();
    if (std::exchange(losing, true)) return;
    patience_timer.expires_after(patience);
    patience_timer.async_wait([weak = weak_from_this(), of = ++losses](const boost::system::error_code& cancelled) {
      const auto self = weak.lock();
      if (!cancelled && self && self->losing && self->losses == of) self->unknown();
    });
  }

  void found() {
    losing = false;
    patience_timer.cancel();
    retry_timer.cancel();
    retry = first_retry;
  }

  void unknown() {
    Workload workload = last;
    workload.state = RunState::unknown;
    workload.detail = trouble;
    tell(std::move(workload));
  }

  /// systemd did not answer, though the bus may be there: no signal will say when it does.
  void look_later() {
    retry_timer.expires_after(retry);
    retry = std::min(retry * 2, last_retry);
    retry_timer.async_wait([weak = weak_from_this()](const boost::system::error_code& cancelled) {
      if (const auto self = weak.lock(); self && !cancelled) self->look();
    });
  }

  void end() {
    stopped = true;
    process.stop();
    patience_timer.cancel();
    retry_timer.cancel();
  }

  void tell(Workload workload) {
    if (stopped || (told && workload == last)) return;
    told = true;
    last = workload;
    report(workload);
  }

  void main_process_died(pid_t pid) {
    dead_pid = pid;
    // An unknown state is one that systemd does not tell; the process was there.
    if (stopped || (last.state != RunState::running && last.state != RunState::unknown)) return;
    Workload workload = last;
    workload.state = RunState::failed;
    workload.pid = 0;
    workload.detail = "main process " + std::to_string(pid) + " died";
    tell(std::move(workload));
    look();
  }

  /// Reads the unit's state; changes that come meanwhile make it read once more.
  void look() {
    if (stopped) return;
    if (std::exchange(looking, true)) {
      look_once_more = true;
      return;
    }
    host::spawn(executor, "unit state", look_until_seen(shared_from_this()));
  }

  static asio::awaitable<void> look_until_seen(std::shared_ptr<Impl> self) {
    do {
      self->look_once_more = false;
      auto view = co_await self->systemd->read(self->config.unit);
      if (self->stopped) break;
      if (view) {
        self->found();
        self->show(*view);
      } else {
        self->lost(view.error().message);
        self->look_later();
      }
    } while (self->look_once_more && !self->stopped);
    self->looking = false;
  }

  void show(const UnitView& view) {
    Workload workload;
    workload.revision = revision;
    workload.artifact = package;
    workload.state = state_of(view);
    workload.detail = detail_of(view, config.unit);
    const bool alive = workload.state == RunState::running && view.main_pid != 0;
    if (alive && view.main_pid == dead_pid) return;  // The kernel was faster than systemd, whose signal is on its way.
    if (alive) {
      workload.pid = view.main_pid;
      process.follow(static_cast<pid_t>(view.main_pid));
    } else {
      process.stop();
    }
    if (view.main_pid != dead_pid) dead_pid = 0;
    tell(std::move(workload));
  }

  /// What package the unit came from, for people and for parity.
  static asio::awaitable<void> ask_package(std::shared_ptr<Impl> self) {
    if (!self->config.package.empty()) {
      std::vector<std::string> query{"rpm", "-q", "--qf", "%{NAME}-%{VERSION}-%{RELEASE}\n%{VCS}\n", self->config.package};
      const std::vector<std::string> lines = co_await lines_of(std::move(query));
      if (lines.size() == 2) {
        self->package = lines[0];
        self->revision = lines[1] == "(none)" ? "" : lines[1];
      }
    }
    if (!self->config.revision.empty()) {
      std::vector<std::string> query = self->config.revision;
      const std::vector<std::string> lines = co_await lines_of(std::move(query));
      self->revision = lines.empty() ? "" : lines[0];
    }
    if (self->stopped || !self->told) co_return;
    Workload now = self->last;
    now.revision = self->revision;
    now.artifact = self->package;
    self->tell(std::move(now));
  }

  /// What a command prints; nothing if it fails. (rpm has its database where it likes: Debian's, in root's home.)
  static asio::awaitable<std::vector<std::string>> lines_of(std::vector<std::string> argv) {
    host::Command command;
    command.argv = std::move(argv);
    const std::string program = command.argv.front();
    auto result = co_await host::run_configured(std::move(command));
    std::vector<std::string> lines;
    if (!result || result->exit_status != 0) {
      spdlog::warn("{} tells no revision: {}", program,
                   result ? "exit status " + std::to_string(result->exit_status) : result.error().message);
      co_return lines;
    }
    std::istringstream output(result->output);
    for (std::string line; std::getline(output, line);) lines.push_back(line);
    co_return lines;
  }

  // ---- Doing -----------------------------------------------------------------------------------------------------

  static asio::awaitable<Expected<void>> job(std::shared_ptr<Impl> self, UnitJob job) {
    auto done = co_await self->systemd->run(job, self->config.unit);
    self->look();
    co_return done;
  }

  asio::any_io_executor executor;
  std::shared_ptr<Systemd> systemd;
  config::RpmSide config;
  Report report;
  ProcessWatch process;
  asio::steady_timer patience_timer;
  asio::steady_timer retry_timer;
  Milliseconds retry = first_retry;
  std::string trouble;  ///< Why systemd cannot be asked.
  bool losing = false;
  std::uint64_t losses = 0;
  bool stopped = false;
  bool told = false;
  Workload last;
  std::string revision;
  std::string package;
  std::int64_t dead_pid = 0;
  bool looking = false;
  bool look_once_more = false;
};

UnitSide::UnitSide(asio::any_io_executor executor, std::shared_ptr<Systemd> systemd, config::RpmSide config, Report report)
    : impl_(std::make_shared<Impl>(executor, std::move(systemd), std::move(config), std::move(report))) {}

UnitSide::~UnitSide() {
  impl_->end();
}

void UnitSide::watch() {
  impl_->systemd->listen(impl_->config.unit, impl_);
  host::spawn(impl_->executor, "package query", Impl::ask_package(impl_));
}

asio::awaitable<void> UnitSide::refresh() { return Impl::ask_package(impl_); }
asio::awaitable<Expected<void>> UnitSide::prepare() { co_return Expected<void>{}; }
asio::awaitable<Expected<void>> UnitSide::start() { return Impl::job(impl_, UnitJob::start); }
asio::awaitable<Expected<void>> UnitSide::restart() { return Impl::job(impl_, UnitJob::restart); }
asio::awaitable<Expected<void>> UnitSide::stop() { return Impl::job(impl_, UnitJob::stop); }

}  // namespace dualdeploy::workload
