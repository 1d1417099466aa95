#include "host/logging.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/sinks/systemd_sink.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <syslog.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

#include "core/printable.hpp"

namespace dualdeploy::host {
namespace {

bool to_journal = false;

/// systemd.exec(5), $JOURNAL_STREAM: "DEVICE:INODE" of the stream; standard error may have been redirected since.
bool stderr_is_journal() {
  const char* stream = std::getenv("JOURNAL_STREAM");
  struct stat own {};
  if (stream == nullptr || ::fstat(STDERR_FILENO, &own) != 0) return false;
  return std::string(stream) == std::to_string(own.st_dev) + ":" + std::to_string(own.st_ino);
}

int priority_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return LOG_DEBUG;
    case LogLevel::info: return LOG_INFO;
    case LogLevel::warning: return LOG_WARNING;
    case LogLevel::error: return LOG_ERR;
  }
  return LOG_INFO;
}

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warning: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
  }
  return spdlog::level::info;
}

std::string prefix_of(const LogFields& fields) {
  std::string prefix = fields.service.empty() ? "agent" : fields.service;
  if (!fields.side.empty()) prefix += "/" + fields.side;
  if (!fields.kind.empty()) prefix += " " + fields.kind;
  return prefix + ": ";
}

}  // namespace

void start_logging(std::string_view level) {
  to_journal = stderr_is_journal();
  if (to_journal) {
    spdlog::set_default_logger(
        std::make_shared<spdlog::logger>("dualdeployd", std::make_shared<spdlog::sinks::systemd_sink_mt>("dualdeployd")));
  } else {
    spdlog::set_default_logger(
        std::make_shared<spdlog::logger>("dualdeployd", std::make_shared<spdlog::sinks::stderr_color_sink_mt>()));
    spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%-7l%$ %v");
  }
  set_log_level(level);
}

void set_log_level(std::string_view level) { spdlog::set_level(spdlog::level::from_str(std::string(level))); }

void log_event(LogLevel level, const LogFields& fields, const std::string& text) {
  const std::string line = prefix_of(fields) + printable(text);
  if (!to_journal) {
    spdlog::log(spdlog_level(level), "{}", line);
    return;
  }
  if (!spdlog::should_log(spdlog_level(level))) return;
  std::vector<std::string> members{"MESSAGE=" + line, "PRIORITY=" + std::to_string(priority_of(level)),
                                   "SYSLOG_IDENTIFIER=dualdeployd"};
  if (!fields.service.empty()) members.push_back("DUALDEPLOY_SERVICE=" + fields.service);
  if (!fields.side.empty()) members.push_back("DUALDEPLOY_SIDE=" + fields.side);
  if (!fields.kind.empty()) members.push_back("DUALDEPLOY_KIND=" + fields.kind);
  if (fields.event_id != 0) members.push_back("DUALDEPLOY_EVENT_ID=" + std::to_string(fields.event_id));
  std::vector<iovec> vectors;
  for (std::string& member : members) vectors.push_back(iovec{member.data(), member.size()});
  (void)::sd_journal_sendv(vectors.data(), static_cast<int>(vectors.size()));  // No place left to complain to.
}

}  // namespace dualdeploy::host
