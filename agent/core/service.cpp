#include "core/service.hpp"

namespace dualdeploy {

std::string_view name_of(RecordKind kind) {
  switch (kind) {
    case RecordKind::flip: return "flip";
    case RecordKind::revert: return "revert";
    case RecordKind::auto_revert: return "auto-revert";
    case RecordKind::failover: return "failover";
    case RecordKind::confirm: return "confirm";
    case RecordKind::expire: return "expired";
    case RecordKind::restore: return "restore";
    case RecordKind::adopt: return "adopt";
    case RecordKind::interrupted: return "interrupted";
    case RecordKind::hold: return "hold";
    case RecordKind::release: return "release";
    case RecordKind::rescue: return "rescue";
    case RecordKind::drain: return "drain";
    case RecordKind::drift: return "drift";
    case RecordKind::health: return "health";
    case RecordKind::workload: return "workload";
    case RecordKind::restart: return "restart";
    case RecordKind::state: return "state";
    case RecordKind::hook: return "hook";
    case RecordKind::config: return "config";
    case RecordKind::instance: return "instance";
    case RecordKind::alarm: return "alarm";
  }
  return "alarm";
}

bool is_change(RecordKind kind) {
  switch (kind) {
    case RecordKind::health:
    case RecordKind::workload:
    case RecordKind::restart:
    case RecordKind::config: return false;
    default: return true;
  }
}

std::string_view name_of(Result result) {
  switch (result) {
    case Result::done: return "done";
    case Result::failed: return "failed";
    case Result::refused: return "refused";
  }
  return "failed";
}

std::string_view name_of(HookPoint point) { return point == HookPoint::before ? "before" : "after"; }

std::string_view name_of(Change::Phase phase) {
  switch (phase) {
    case Change::Phase::waiting: return "waiting";
    case Change::Phase::asking: return "asking the before-hook";
    case Change::Phase::inspecting: return "inspecting";
    case Change::Phase::noting: return "noting";
    case Change::Phase::applying: return "applying";
    case Change::Phase::handing_over: return "handing over";
    case Change::Phase::proving: return "proving";
    case Change::Phase::committing: return "committing";
    case Change::Phase::undoing: return "undoing";
  }
  return "waiting";
}

std::string_view name_of(Handover::Step step) {
  switch (step) {
    case Handover::Step::hold: return "holding new connections";
    case Handover::Step::stop: return "stopping the old side";
    case Handover::Step::free: return "waiting for the port";
    case Handover::Step::start: return "starting the new side";
    case Handover::Step::healthy: return "waiting for the first good check";
    case Handover::Step::release: return "letting connections in";
  }
  return "";
}

bool has_begun(const Change& change) {
  return change.phase != Change::Phase::waiting && change.phase != Change::Phase::asking &&
         change.phase != Change::Phase::inspecting;
}

const Route& wanted_in_kernel(const ServiceState& state) { return state.repair_to ? *state.repair_to : state.effective; }

bool known_down(const SideState& side) {
  switch (side.workload.state) {
    case RunState::missing:
    case RunState::stopped:
    case RunState::failed: return side.reported;
    default: return false;
  }
}

}  // namespace dualdeploy
