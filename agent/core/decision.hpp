#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/guards.hpp"
#include "core/service.hpp"

namespace dualdeploy {

/// One step on its way: the state, the time, and the actions so far. Private to core: step() is the way in.
///
/// observed.cpp    what was seen of the world
/// commands.cpp    what operators ask for
/// change.cpp      the one change under way, from phase to phase
/// handover.cpp    its phase in which one side stops and the other starts
/// follow_up.cpp   what the agent does by itself, in view of the state
class Decision {
 public:
  Decision(ServiceState& state, Instant now) : state_(state), now_(now) {}
  [[nodiscard]] std::vector<Action> decide(const Event& event);

 private:
  // ---- observed.cpp ----
  void on(const event::Booted& boot);
  void on(const event::Probed& probe);
  [[nodiscard]] bool could_be_checked(const event::Probed& probe);
  void on(const event::Reported& report);
  void on(const event::Operated& done);
  void on(const event::PolicyChanged& changed);
  void on(const event::Woken&) {}
  void on(const event::Stopping& stopping);
  void drop_unconfirmed_of_earlier();
  void finish_interrupted(const std::optional<Intent>& unfinished, const Route& back_to);
  void note_interrupted(const Intent& unfinished, const Route& stayed);
  void judge(Side which, Verdict verdict, const std::string& why);
  [[nodiscard]] Milliseconds restart_delay(Side which) const;

  // ---- commands.cpp ----
  void on(const event::Requested& request);
  void obey(const event::Requested& request, const FlipCommand& flip);
  void obey(const event::Requested& request, const ConfirmCommand&);
  void obey(const event::Requested& request, const RevertCommand&);
  void obey(const event::Requested& request, const RescueCommand&);
  void obey(const event::Requested& request, const HoldCommand&);
  void obey(const event::Requested& request, const ReleaseCommand&);
  void operator_revert(const event::Requested& request, RecordKind kind);
  void refuse(const event::Requested& request, RecordKind kind, const std::string& why,
              std::optional<Route> to = std::nullopt);
  void answer(RequestId request, std::string message, std::optional<Route> from, std::optional<Route> to);

  // ---- change.cpp ----
  void on(const event::HookEnded& ended);
  void on(const event::Applied& applied);
  void on(const event::Proved& proved);
  void on(const event::Saved& saved);
  [[nodiscard]] Change begin(RecordKind kind, const Route& to, const event::Requested& request);
  [[nodiscard]] Change begin(RecordKind kind, const Route& to, Actor actor, std::string reason);
  void start_flip();
  void inspect();
  void refuse_change(const std::string& why);
  void write_intent();
  void apply_change();
  void commit();
  void change_applied(const std::optional<Error>& error);
  void change_saved(const std::optional<Error>& error);
  void change_done(const std::string& message);
  void undo(Error why);
  void give_up(const Error& why);
  void supersede(const std::string& why);
  void answer_all(const Change& change, const Error& error);
  [[nodiscard]] std::string done_text(const Change& change) const;
  [[nodiscard]] Record record_of(const Change& change, Result result, std::string message) const;

  // ---- handover.cpp ----
  void on(const event::FrontHeld& held);
  void on(const event::PortsFree& free);
  [[nodiscard]] bool answers_step(Ticket ticket);
  void find_holder();
  void start_handover();
  [[nodiscard]] bool has_port_alone(Side which) const;
  void take_step();
  void next_step();
  void step_failed(const Error& error);
  void look_at_handover();
  void handover_operated(Side which, const std::optional<Error>& error);
  void end_handover();
  void keep_front_held(Instant until);
  void release_front();
  [[nodiscard]] bool serves_well() const;
  [[nodiscard]] Milliseconds patience_with_new_side() const;

  // ---- follow_up.cpp ----
  void follow_up();
  void revert_if_container_sick();
  void expire_unconfirmed();
  void fail_over();
  void raise_alarms();
  void go_on_waiting();
  void restore_saved_route();
  void supervise(Side which);
  void rest_if_cold();
  void clear_the_port();
  void retry_kernel();
  void retry_save();
  [[nodiscard]] bool heading_for_container() const;
  [[nodiscard]] bool going_home() const;
  [[nodiscard]] bool fails_while_running(Side which) const;

  // ---- Small pieces, for all ----
  void kernel_failed(const Route& wanted, const Error& error);
  void save_later(Instant when);
  void save_failed(const Error& error);
  void note(Record record) { actions_.emplace_back(action::Note{std::move(record)}); }
  [[nodiscard]] const SidePolicy& policy(Side side) const { return state_.policy.sides[side]; }
  [[nodiscard]] SideState& side(Side which) { return state_.sides[which]; }
  Ticket next_ticket() { return ++state_.last_ticket; }

  ServiceState& state_;
  Instant now_;
  bool sides_in_motion_ = false;  ///< The handover that this step supersedes has begun to stop or start one.
  std::vector<Action> actions_;
};

/// What is not given up before it is done: the ways back.
[[nodiscard]] bool must_happen(const Change& change);

/// What a handover may take at most, the way back included: so long the kernel holds clients by itself.
[[nodiscard]] Milliseconds lease_of_hold(const ServicePolicy& policy);

}  // namespace dualdeploy
