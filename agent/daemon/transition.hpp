#pragma once

#include <string_view>

#include "core/service.hpp"

/// The steps of a change by name, for host::crash_point(). What is no step of a change has none.
namespace dualdeploy::daemon {

struct Transition {
  std::string_view operator()(const action::Apply&) const { return "to apply a route"; }
  std::string_view operator()(const action::Save&) const { return "to save"; }
  std::string_view operator()(const action::Operate& operate) const {
    return operate.operation == Operation::stop ? "to stop a side" : "to start a side";
  }
  std::string_view operator()(const action::RunHook&) const { return "to run a hook"; }
  std::string_view operator()(const action::Prove& prove) const {
    return prove.point == HookPoint::before ? "to inspect" : "to prove";
  }
  std::string_view operator()(const action::HoldFront& front) const {
    return front.hold ? "to hold the front" : "to let in again";
  }
  std::string_view operator()(const action::AwaitFree&) const { return "to wait for the ports"; }
  std::string_view operator()(const action::Answer&) const { return "to answer"; }
  std::string_view operator()(const action::Note&) const { return "to put on record"; }

  std::string_view operator()(const event::Requested&) const { return "asked"; }
  std::string_view operator()(const event::Applied&) const { return "route applied"; }
  std::string_view operator()(const event::Saved&) const { return "saved"; }
  std::string_view operator()(const event::Operated&) const { return "side operated"; }
  std::string_view operator()(const event::HookEnded&) const { return "hook ended"; }
  std::string_view operator()(const event::Proved&) const { return "proved"; }
  std::string_view operator()(const event::FrontHeld&) const { return "front held or let in"; }
  std::string_view operator()(const event::PortsFree&) const { return "ports free"; }

  std::string_view operator()(const auto& /*other*/) const { return ""; }
};

}  // namespace dualdeploy::daemon
