#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "core/step.hpp"

namespace dualdeploy {

using namespace std::chrono_literals;

inline const Route rpm = Route::to(Side::rpm);
inline const Route container = Route::to(Side::container);

/// A service in a world where the kernel and the disk obey at once, unless told otherwise.
class World {
 public:
  explicit World(Side initial = Side::rpm) {
    state.policy.name = "shop";
    state.policy.initial = initial;
  }

  World& boot(std::optional<Durable> durable = {}, KernelRoute found = {}, std::string trouble = "") {
    on(event::Booted{std::move(durable), std::move(trouble), found, boot_id});
    return *this;
  }
  World& up(Side side, std::int64_t pid) {
    on(event::Reported{side, Workload{.state = RunState::running, .pid = pid, .revision = revisions[side]}});
    return *this;
  }
  World& down(Side side, std::string detail = "exited with status 137 (SIGKILL)") {
    on(event::Reported{side, Workload{.state = RunState::failed, .detail = std::move(detail)}});
    return *this;
  }
  World& pass(Side side, int times = 1) {
    for (int i = 0; i < times; ++i) on(event::Probed{side, now, {}});
    return *this;
  }
  World& fail_check(Side side, int times = 1) {
    for (int i = 0; i < times; ++i) on(event::Probed{side, now, ProbeFailure{"HTTP status 503", "sick"}});
    return *this;
  }
  World& both_healthy() { return up(Side::rpm, 10).up(Side::container, 20).pass(Side::rpm).pass(Side::container); }
  World& wait(Milliseconds time) {
    const Instant until = now + time;
    while (true) {
      const auto wake = next_wake(state, now);
      if (!wake || *wake > until) break;
      now = std::max(now + 1ms, *wake);
      on(event::Woken{});
    }
    now = std::max(now, until);
    return *this;
  }
  RequestId ask(Command command, std::string reason = "") {
    const RequestId id = ++requests;
    on(event::Requested{id, Actor{1000, 4711, "alice"}, std::move(reason), command, 0});
    return id;
  }
  RequestId flip(Side side, bool force = false, std::optional<Milliseconds> wait_for = {}) {
    return ask(FlipCommand{Route::to(side), force, wait_for, {}});
  }
  [[nodiscard]] std::optional<action::Answer> answer(RequestId id) const {
    for (const auto& given : answers) {
      if (given.request == id) return given;
    }
    return std::nullopt;
  }
  [[nodiscard]] std::vector<std::string> kinds() const {
    std::vector<std::string> names;
    for (const Record& record : records) {
      if (is_change(record.kind)) names.push_back(std::string(name_of(record.kind)) + " " + std::string(name_of(record.result)));
    }
    return names;
  }

  void on(const Event& event) {
    for (const Action& action : step(state, event, now)) std::visit([this](const auto& what) { carry_out(what); }, action);
  }

  ServiceState state;
  PerSide<std::string> revisions = [] {
    PerSide<std::string> same;
    same[Side::rpm] = same[Side::container] = "r1";
    return same;
  }();
  std::string boot_id = "boot-1";
  Instant now{1'000'000ms};
  RequestId requests = 0;
  Route kernel;
  Durable disk;
  std::vector<action::Answer> answers;
  std::vector<Record> records;
  std::vector<action::Operate> operations;
  std::vector<action::RunHook> hooks;
  std::optional<Instant> kernel_until;
  // Faults.
  bool kernel_refuses = false;
  bool disk_refuses = false;
  bool held = false;
  std::vector<bool> holds;
  bool operate_at_once = false;
  bool port_stays_taken = false;
  std::optional<Error> start_error;
  std::optional<Error> stop_error;
  std::optional<Error> release_error;
  std::int64_t pids = 100;
  std::optional<Error> hook_error;
  std::optional<Error> inspection_error;
  std::optional<Error> proof_error;
  bool hook_silent = false;
  bool hold_silent = false;
  bool kernel_silent = false;
  bool disk_silent = false;
  std::vector<Ticket> silent_tickets;

 private:
  void carry_out(const action::Apply& apply) {
    if (kernel_silent) {
      silent_tickets.push_back(apply.ticket);
      return;
    }
    if (!kernel_refuses) {
      kernel = apply.route;
      kernel_until = apply.until;
    }
    on(event::Applied{apply.ticket, kernel_refuses ? std::optional(Error{ErrorCode::failed, "nft: no"}) : std::nullopt});
  }
  void carry_out(const action::Save& save) {
    if (disk_silent) {
      silent_tickets.push_back(save.ticket);
      return;
    }
    if (!disk_refuses) {
      disk = save.durable;
      if (save.record) records.push_back(*save.record);
    }
    on(event::Saved{save.ticket, disk_refuses ? std::optional(Error{ErrorCode::failed, "disk full"}) : std::nullopt});
  }
  void carry_out(const action::RunHook& hook) {
    hooks.push_back(hook);
    if (hook.point == HookPoint::before && !hook_silent) on(event::HookEnded{hook.ticket, hook_error});
  }
  void carry_out(const action::Prove& prove) { on(event::Proved{prove.ticket, prove.point == HookPoint::before ? inspection_error : proof_error}); }
  void carry_out(const action::HoldFront& hold) {
    if (hold_silent && hold.hold) {
      silent_tickets.push_back(hold.ticket);
      return;
    }
    const std::optional<Error> error = hold.hold ? std::nullopt : release_error;
    if (!error) held = hold.hold;
    holds.push_back(hold.hold);
    on(event::FrontHeld{hold.ticket, error});
  }
  void carry_out(const action::AwaitFree& await) {
    on(event::PortsFree{await.ticket, port_stays_taken ? std::optional(Error{ErrorCode::failed, "port 80 is still listened on by nc (1)"})
                                                       : std::nullopt});
  }
  void carry_out(const action::Operate& operate) {
    operations.push_back(operate);
    if (operate_at_once) carry_out_now(operate);
  }
  /// A supervisor that obeys: the side is up or down before the operation ends.
  void carry_out_now(const action::Operate& operate) {
    const bool up = operate.operation != Operation::stop;
    if (const std::optional<Error>& error = up ? start_error : stop_error) {
      on(event::Operated{operate.side, error});
      return;
    }
    const bool runs_already = state.sides[operate.side].workload.state == RunState::running;
    if (operate.operation == Operation::start && runs_already) {
      on(event::Operated{operate.side, {}});
      return;
    }
    on(event::Reported{operate.side, Workload{.state = up ? RunState::running : RunState::stopped, .pid = up ? ++pids : 0,
                                              .revision = revisions[operate.side]}});
    on(event::Operated{operate.side, {}});
  }
  void carry_out(const action::Answer& answer) { answers.push_back(answer); }
  void carry_out(const action::Note& note) { records.push_back(note.record); }
};

}  // namespace dualdeploy
