#pragma once

#include <cstdint>
#include <string>
#include <string_view>

/// Where log lines go: the journal with structured fields under systemd, otherwise standard error (coloured on a
/// terminal). Levels by use: error = somebody has to look; warning = the agent coped, but not as planned; info = what an
/// operator wants to read at 3 a.m., one line an event; debug = how it came about.
namespace dualdeploy::host {

enum class LogLevel : std::uint8_t { debug, info, warning, error };

/// Decides by $JOURNAL_STREAM (systemd.exec(5)). `level`: trace, debug, info, warning or error.
void start_logging(std::string_view level);
void set_log_level(std::string_view level);

/// A line with the fields DUALDEPLOY_SERVICE, DUALDEPLOY_SIDE, DUALDEPLOY_KIND and DUALDEPLOY_EVENT_ID in the journal
/// (`journalctl DUALDEPLOY_SERVICE=shop`). Empty fields are left out. One
/// line, whatever is in `text`.
struct LogFields {
  std::string service;
  std::string side;
  std::string kind;
  std::uint64_t event_id = 0;
};
void log_event(LogLevel level, const LogFields& fields, const std::string& text);

}  // namespace dualdeploy::host
