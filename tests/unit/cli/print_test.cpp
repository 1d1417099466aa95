#include "cli/print.hpp"

#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace dualdeploy::cli {
namespace {

namespace json = boost::json;

json::object parsed(std::string_view text) { return json::parse(text).as_object(); }

constexpr Style plain{.colour = false};
constexpr Style coloured{.colour = true};

json::object flipped_service() {
  return parsed(R"({
    "name": "shop",
    "route": {"intended": "container", "effective": "container", "why": ""},
    "ports": [{"front": 8080, "rpm": 8080, "container": 18080, "protocol": "tcp"}],
    "change": null, "hold": null, "bake_left_ms": 0, "alarms": [],
    "sides": {
      "rpm": {"name": "shop.service", "state": "running", "pid": 812, "detail": "", "revision": "abc123",
              "artifact": "shop-1.2-1", "health": "healthy", "since_ms": 7265000, "restarts": 0,
              "last_operation_error": "", "last_failure": null},
      "container": {"name": "shop:1.2", "state": "running", "pid": 901, "detail": "", "revision": "abc123",
                    "artifact": "sha256:77", "health": "healthy", "since_ms": 185000, "restarts": 2,
                    "last_operation_error": "",
                    "last_failure": {"reason": "connection refused", "excerpt": "", "ago_ms": 200000}}}})");
}

json::object troubled_service() {
  return parsed(R"({
    "name": "shop",
    "route": {"intended": "container", "effective": "rpm", "why": "the container is sick"},
    "ports": [{"front": 80, "rpm": 80, "container": 10080, "protocol": "tcp"},
              {"front": 443, "rpm": 443, "container": 10443, "protocol": "tcp"}],
    "change": {"kind": "flip", "to": "container", "user": "ann", "phase": "waiting", "since_ms": 1500},
    "hold": {"user": "bob", "uid": 1001, "reason": "release day", "since": "2026-11-23T12:00:00.000Z"},
    "bake_left_ms": 61000, "alarms": ["both sides look sick"],
    "sides": {
      "rpm": {"name": "shop.service", "state": "stopped", "pid": 0, "detail": "", "revision": "", "artifact": "",
              "health": "unknown", "since_ms": 0, "restarts": 0, "last_operation_error": "", "last_failure": null},
      "container": {"name": "shop:1.2", "state": "failed", "pid": 0, "detail": "exited with status 1", "revision": "",
                    "artifact": "", "health": "sick", "since_ms": 4000, "restarts": 3,
                    "last_operation_error": "port 10080 is taken",
                    "last_failure": {"reason": "HTTP status 503, expected 200", "excerpt": "no database",
                                     "ago_ms": 3000}}}})");
}

TEST(PrintService, SaysOneLineASideWhenAllIsWell) {
  EXPECT_EQ(print_service(flipped_service(), false, plain),
            "shop  port 8080/tcp (rpm 8080, container 18080)\n"
            "  route     container\n"
            "  rpm       healthy  for 2h 1m    running, pid 812  shop.service\n"
            "  container healthy  for 3m 5s    running, pid 901  shop:1.2\n");
}

TEST(PrintService, SaysRevisionArtifactAndOldFailuresInDetail) {
  EXPECT_EQ(print_service(flipped_service(), true, plain),
            "shop  port 8080/tcp (rpm 8080, container 18080)\n"
            "  route     container\n"
            "  rpm       healthy  for 2h 1m    running, pid 812  shop.service\n"
            "            artifact shop-1.2-1\n"
            "            revision abc123\n"
            "            started by the agent 0 times\n"
            "  container healthy  for 3m 5s    running, pid 901  shop:1.2\n"
            "            last failure 3m 20s ago: connection refused\n"
            "            artifact sha256:77\n"
            "            revision abc123\n"
            "            started by the agent 2 times\n");
}

TEST(PrintService, SaysWhatIsWrongAndWhoIsAtIt) {
  EXPECT_EQ(print_service(troubled_service(), false, plain),
            "shop  port 80/tcp (rpm 80, container 10080), 443/tcp (rpm 443, container 10443)\n"
            "  route     rpm (intended: container): the container is sick, bake window 1m 1s left\n"
            "  change    flip to container by ann, waiting for 1s\n"
            "  hold      by bob since 2026-11-23T12:00:00.000Z: release day\n"
            "  ALARM: both sides look sick\n"
            "  rpm       unknown  stopped  shop.service\n"
            "  container sick     for 4s       failed  shop:1.2\n"
            "            exited with status 1\n"
            "            last start: port 10080 is taken\n"
            "            last failure 3s ago: HTTP status 503, expected 200: no database\n");
}

TEST(PrintService, ColoursAlarmsRedOnlyWhenAsked) {
  EXPECT_NE(print_service(troubled_service(), false, coloured).find("\033[31mALARM: both sides look sick\033[0m"),
            std::string::npos);
  EXPECT_EQ(print_service(troubled_service(), true, plain).find('\033'), std::string::npos);
}

TEST(PrintService, SurvivesAnAnswerOfAnotherVersion) {
  EXPECT_EQ(print_service(parsed(R"({"name": "shop", "sides": {"rpm": 7}, "ports": [1], "alarms": [2], "route": null})"),
                          true, plain),
            "shop  port \n  route     \n");
}

TEST(PrintStatus, BeginsWithTheAgentItself) {
  json::object status = parsed(R"({"version": "0.1.0", "backend": "nftables", "lease_ms": 60000,
    "drift": {"repairs": 2, "last": "2026-11-23T12:00:00.000Z"}, "alarms": ["the configuration was not reloaded"]})");
  status["services"] = json::array{flipped_service()};
  EXPECT_EQ(print_status(status, plain),
            "dualdeployd 0.1.0, nftables, lease 1m, rules repaired 2 times (last 2026-11-23T12:00:00.000Z)\n"
            "ALARM: the configuration was not reloaded\n"
            "\n" +
                print_service(flipped_service(), false, plain));
}

TEST(PrintStatus, SaysWhereServicesComeFromWhenThereAreNone) {
  EXPECT_EQ(print_status(parsed(R"({"version": "0.1.0", "backend": "nftables", "lease_ms": 90000,
                                    "drift": {"repairs": 0}, "services": []})"),
                         plain),
            "dualdeployd 0.1.0, nftables, lease 90s\n"
            "no services; see /etc/dualdeploy/services.d\n");
}

TEST(PrintRecord, IsOneLine) {
  EXPECT_EQ(print_record(parsed(R"({"id": 7, "at": "2026-11-23T12:00:00.123Z", "service": "shop", "kind": "flip",
    "change": true, "actor": {"uid": 0, "user": "root", "pid": 41}, "from": "rpm", "to": "container",
    "reason": "release 1.2", "result": "done", "message": "flipped", "duration_ms": 12})"),
                         plain),
            "2026-11-23T12:00:00.123Z  shop     flip        rpm -> container in 12 ms by root flipped [release 1.2]");
}

TEST(PrintRecord, NamesTheSideAndLeavesOutTheAgentAsActor) {
  EXPECT_EQ(print_record(parsed(R"({"at": "2026-11-23T12:00:00.123Z", "service": "shop", "kind": "health",
    "side": "container", "actor": {"uid": -1, "user": "agent", "pid": 0}, "result": "failed",
    "message": "connection refused"})"),
                         plain),
            "2026-11-23T12:00:00.123Z  shop     health      container: failed connection refused");
}

/// A container chooses its answers, a user the name of his process: what they wrote is shown, not obeyed.
TEST(PrintRecord, EscapesWhatATerminalWouldObey) {
  const json::object record = parsed(R"({"at": "T", "service": "shop", "kind": "flip", "result": "refused",
    "actor": {"uid": 1000, "user": "a\u001b]0;x\u0007"}, "message": "held by \u009b2J\r", "reason": "a\nT  shop  fake"})");
  EXPECT_EQ(print_record(record, plain),
            "T  shop     flip        refused by a\\x1b]0;x\\x07 held by \\xc2\\x9b2J\\x0d [a\\x0aT  shop  fake]");
  json::object service = troubled_service();
  service["alarms"] = json::array{"\033[2J"};
  EXPECT_EQ(print_service(service, true, plain).find('\033'), std::string::npos);
}

TEST(PrintRecord, MarksARefusal) {
  const json::object record = parsed(R"({"at": "T", "service": "", "kind": "flip", "from": "rpm", "to": "rpm",
    "actor": {"uid": 1000, "user": "ann"}, "result": "refused", "message": "held"})");
  EXPECT_EQ(print_record(record, plain), "T  -        flip        refused by ann held");
  EXPECT_NE(print_record(record, coloured).find("\033[33mrefused\033[0m"), std::string::npos);
}

}  // namespace
}  // namespace dualdeploy::cli
