// The units as systemd 219 (CentOS 7) reads them: it skips a directive that it does not know with a warning, and takes a
// value that it does not know for another one. Neither may change what a unit means.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int oldest_systemd = 219;

/// Every directive our units use, and the version of systemd that brought it (NEWS); 0 where 219's manual pages have it.
const std::map<std::string, std::map<std::string, int>>& directives() {
  static const std::map<std::string, std::map<std::string, int>> table{
      {"Unit", {{"After", 0}, {"Description", 0}, {"Documentation", 0}, {"OnFailure", 0}, {"PartOf", 0}, {"Wants", 0}}},
      {"Install", {{"Also", 0}, {"WantedBy", 0}}},
      {"Socket", {{"Backlog", 0}, {"DirectoryMode", 0}, {"ListenStream", 0}, {"SocketMode", 0}}},
      {"Service",
       {{"CapabilityBoundingSet", 0},
        {"Environment", 0},
        {"ExecReload", 0},
        {"ExecStart", 0},
        {"ExecStartPre", 0},
        {"ExecStop", 0},
        {"KillMode", 0},
        {"LimitNOFILE", 0},
        {"LockPersonality", 235},
        {"MemoryDenyWriteExecute", 231},
        {"NoNewPrivileges", 0},
        {"NotifyAccess", 0},
        {"OOMScoreAdjust", 0},
        {"PrivateDevices", 0},
        {"PrivateMounts", 239},
        {"PrivateNetwork", 0},
        {"PrivateTmp", 0},
        {"ProtectClock", 245},
        {"ProtectControlGroups", 232},
        {"ProtectHome", 0},
        {"ProtectHostname", 242},
        {"ProtectKernelLogs", 244},
        {"ProtectKernelModules", 232},
        {"ProtectKernelTunables", 232},
        {"ProtectProc", 247},
        {"ProtectSystem", 0},
        {"ReadOnlyPaths", 231},
        {"ReadWritePaths", 231},
        {"RemainAfterExit", 0},
        {"Restart", 0},
        {"RestartSec", 0},
        {"RestrictAddressFamilies", 0},
        {"RestrictNamespaces", 233},
        {"RestrictRealtime", 231},
        {"RestrictSUIDSGID", 242},
        {"RuntimeDirectory", 0},
        {"RuntimeDirectoryPreserve", 235},
        {"StartLimitBurst", 0},     // Moved to [Unit] in 229; [Service] is still read.
        {"StartLimitInterval", 0},  // Likewise.
        {"StateDirectory", 235},
        {"StateDirectoryMode", 235},
        {"SystemCallArchitectures", 0},
        {"SystemCallErrorNumber", 0},
        {"SystemCallFilter", 0},
        {"TimeoutStartSec", 0},
        {"TimeoutStopSec", 0},
        {"Type", 0},
        {"UMask", 0},
        {"User", 0},
        {"WatchdogSec", 0}}}};
  return table;
}

/// Where 219 takes a newer value for something weaker: the values that it knows (systemd.service(5), systemd.exec(5),
/// systemd.kill(5) of 219).
const std::map<std::string, std::vector<std::string>>& values() {
  static const std::map<std::string, std::vector<std::string>> table{
      {"KillMode", {"control-group", "process", "mixed", "none"}},
      {"NotifyAccess", {"none", "main", "all"}},
      {"ProtectHome", {"yes", "no", "read-only"}},
      {"ProtectSystem", {"yes", "no", "full"}},
      {"Restart", {"no", "on-success", "on-failure", "on-abnormal", "on-watchdog", "on-abort", "always"}},
      {"Type", {"simple", "forking", "oneshot", "dbus", "notify", "idle"}}};
  return table;
}

/// Why systemd of that version would read one line of a unit otherwise than it is meant.
std::optional<std::string> problem_of(const std::string& section, const std::string& key, const std::string& value, int systemd) {
  const auto known = directives().find(section);
  if (known == directives().end()) return "unknown section [" + section + "]";
  const auto directive = known->second.find(key);
  if (directive == known->second.end()) {
    return "[" + section + "] " + key + " is not in the table: add it with the version of systemd that brought it";
  }
  if (directive->second > systemd) {
    return "[" + section + "] " + key + " came with systemd " + std::to_string(directive->second) + " and is ignored by " +
           std::to_string(systemd);
  }
  const auto allowed = values().find(key);
  if (systemd == oldest_systemd && allowed != values().end() && std::ranges::count(allowed->second, value) == 0) {
    return key + "=" + value + ": not a value of systemd " + std::to_string(oldest_systemd);
  }
  const bool newer_prefix = key.starts_with("Exec") && value.substr(0, value.find('/')).find_first_of("+!:") != std::string::npos;
  if (systemd == oldest_systemd && newer_prefix) return key + "=" + value + ": a prefix newer than 219";
  return std::nullopt;
}

std::vector<std::string> lint(std::istream& unit, int systemd) {
  std::vector<std::string> problems;
  std::string section;
  std::string line;
  for (int number = 1; std::getline(unit, line); ++number) {
    if (line.empty() || line.starts_with('#')) continue;
    if (line.starts_with('[')) {
      section = line.substr(1, line.find(']') - 1);
      continue;
    }
    const std::size_t equals = line.find('=');
    const auto problem = equals == std::string::npos ? std::optional<std::string>("not a directive")
                                                     : problem_of(section, line.substr(0, equals), line.substr(equals + 1), systemd);
    if (problem) problems.push_back(std::to_string(number) + ": " + *problem);
  }
  return problems;
}

std::vector<std::string> lint_text(const std::string& text) {
  std::istringstream unit(text);
  return lint(unit, oldest_systemd);
}

std::vector<std::string> lint_file(const std::string& path, int systemd) {
  std::ifstream unit(std::string(DD_SOURCE_DIR) + "/" + path);
  EXPECT_TRUE(unit) << path;
  return lint(unit, systemd);
}

TEST(Units, AreReadBySystemd219WithoutLosingMeaning) {
  std::size_t seen = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(DD_SOURCE_DIR) + "/units")) {
    const std::string extension = entry.path().extension();
    if (extension != ".service" && extension != ".socket") continue;
    ++seen;
    EXPECT_THAT(lint_file("units/" + entry.path().filename().string(), oldest_systemd), IsEmpty()) << entry.path();
  }
  EXPECT_EQ(seen, 6U);
  EXPECT_THAT(lint_file("packaging/sample/sample.service", oldest_systemd), IsEmpty());
}

TEST(Units, TheHardeningNeedsNothingNewerThanDebian12) {
  for (const char* unit : {"dualdeployd", "dualdeploy-helper", "dualdeploy-failsafe", "dualdeploy-leave"}) {
    EXPECT_THAT(lint_file("units/" + std::string(unit) + ".service.d/50-hardening.conf", 252), IsEmpty()) << unit;
  }
}

TEST(Units, WhatSystemd219WouldMisreadIsFound) {
  EXPECT_THAT(lint_text("[Service]\nType=notify-reload\n"), ElementsAre(HasSubstr("2: Type=notify-reload")));
  EXPECT_THAT(lint_text("[Service]\nProtectSystem=strict\n"), ElementsAre(HasSubstr("ProtectSystem=strict")));
  EXPECT_THAT(lint_text("[Service]\nExecStart=+/bin/true\n"), ElementsAre(HasSubstr("prefix")));
  EXPECT_THAT(lint_text("[Service]\nProtectClock=yes\n"), ElementsAre(HasSubstr("came with systemd 245")));
  EXPECT_THAT(lint_text("[Unit]\nStartLimitIntervalSec=60\n"), ElementsAre(HasSubstr("not in the table")));
  EXPECT_THAT(lint_text("[Service]\nExecStart\n"), ElementsAre(HasSubstr("not a directive")));
  EXPECT_THAT(lint_text("[Service]\n# Type=exec\nType=notify\n"), IsEmpty());
}

}  // namespace
