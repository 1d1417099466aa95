// The agent is killed at each step of each change, one after the other, under a load. What was acknowledged stays, what
// was not goes back; record, saved state and kernel agree, and no request is lost. The steps are those that the change
// really takes: a first run writes them down (agent/host/crash_point.hpp).

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <map>
#include <sstream>

#include "instance/support/arrivals.hpp"
#include "instance/support/instance.hpp"
#include "instance/support/load.hpp"

namespace dualdeploy::testing {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

struct Change {
  std::string name;
  std::string prepare;  ///< Brings the service where the change begins.
  std::string command;  ///< The change, from beginning to end.
  std::string look;     ///< Prints what the change is about:
  std::string before;
  std::string after;
  std::string decided_by = "file in place";  ///< From the last step of this name on, it is done whatever happens.
  std::string kind = "flip";                 ///< Of its record; "": it is no change.
};

/// The NUMBERth of this name.
struct Step {
  int number = 1;
  std::string name;
};

const std::string after_the_answer = "after the answer";
const std::string hook = "/run/dualdeploy-crash";
const std::string route = "dualctl --json status sample | grep -o '\"effective\":\"[^\"]*' | cut -d'\"' -f4";
const std::string hold = "dualctl --json status sample | grep -q '\"hold\":{' && echo held || echo free";
const std::string confirm = "dualctl --json status sample | grep -q '\"confirm\":{' && echo pending || echo settled";
const std::string same_on_disk_as_known =
    "[ \"$(tail -n 1 /var/lib/dualdeploy/history.jsonl | grep -o '\"id\":[0-9]*')\" = "
    "\"$(dualctl --json history --all -n 1 | grep -o '\"id\":[0-9]*')\" ]";
const std::string settled = "systemctl is-active -q dualdeployd && dualctl --json status | grep -q '\"ready\":true'";

std::string trimmed(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

class Killed : public ::testing::Test {
 protected:
  Killed() : instance("killed", Instance::Agent::installed) {
    // What is packaged has no such steps: the hook is compiled out. (By hand, a build for development can be packaged too.)
    if (std::getenv("DUALDEPLOY_RPMS") == nullptr) {
      EXPECT_EQ(instance.inside("grep -c DUALDEPLOY_CRASH_DIRECTORY /usr/sbin/dualdeployd").output, "0\n");
    }
    instance.push(DD_DAEMON, "/usr/sbin/dualdeployd");
    instance.do_inside("mkdir -p " + hook + " /run/systemd/system/dualdeployd.service.d");
    instance.write("/run/systemd/system/dualdeployd.service.d/90-kill.conf",
                   "[Unit]\nStartLimitIntervalSec=0\n[Service]\nEnvironment=DUALDEPLOY_CRASH_DIRECTORY=" + hook +
                       "\nReadWritePaths=" + hook + "\nRestartSec=50ms\n");
    instance.do_inside("systemctl daemon-reload");
  }

  [[nodiscard]] std::vector<Step> steps_of(const Change& change) const {
    instance.do_inside(change.prepare);
    instance.until("on disk", [&] { return instance.inside(same_on_disk_as_known).status == 0; });
    instance.do_inside(": >" + hook + "/trace; " + change.command);
    instance.until("on disk", [&] { return instance.inside(same_on_disk_as_known).status == 0; });
    EXPECT_EQ(trimmed(instance.inside(change.look).output), change.after);
    std::vector<Step> steps;
    std::map<std::string, int> seen;
    std::istringstream lines(instance.do_inside("cat " + hook + "/trace; rm " + hook + "/trace"));
    for (std::string line; std::getline(lines, line);) {
      const Step step{++seen[line], line};
      // How many words the history gets about what the sides do meanwhile is not the same each time.
      const bool only_told = line == "to put on record" || line == "history to write";
      if (!only_told || step.number == 1) steps.push_back(step);
    }
    return steps;
  }

  /// One row of the table. `done`: this step or one before it has decided that the change is made. `noted`: it is known on
  /// disk that it was begun.
  void kill_at(const Step& step, const Change& change, bool done, bool noted) const {
    instance.do_inside(change.prepare);
    const std::string lines = trimmed(instance.do_inside("cat /var/lib/dualdeploy/history.jsonl | wc -l"));
    const bool after_all = step.name == after_the_answer;
    if (!after_all) instance.do_inside("echo '" + std::to_string(step.number) + " " + step.name + "' >" + hook + "/at");
    const std::string kill = " && systemctl kill -s KILL --kill-who=main dualdeployd";
    const Outcome said = instance.inside(change.command + (after_all ? kill : ""));
    instance.until("killed at '" + step.name + "'", [&] { return instance.inside("test -e " + hook + "/at").status != 0; });
    instance.until("another agent has settled", [&] { return instance.inside(settled).status == 0; });
    instance.until("on disk", [&] { return instance.inside(same_on_disk_as_known).status == 0; });

    const std::string state = trimmed(instance.inside(change.look).output);
    const std::string records = instance.do_inside("tail -n +" + std::to_string(std::atol(lines.c_str()) + 1) + " /var/lib/dualdeploy/history.jsonl");
    std::printf("%-21s %-22s %d  %-4s %-14s%s\n", change.name.c_str(), step.name.c_str(), step.number,
                said.status == 0 ? "done" : "-", state.c_str(), told(records).c_str());
    EXPECT_EQ(state, done ? change.after : change.before) << records;
    if (said.status == 0) {
      EXPECT_EQ(state, change.after) << "it was acknowledged";
    }
    // Whoever looks later finds what happened, and, once it was on disk, who began it.
    const auto tells_of = [&](const std::string& kind) { return HasSubstr("\"kind\":\"" + kind + "\""); };
    if (!change.kind.empty() && done) {
      EXPECT_THAT(records, AnyOf(tells_of(change.kind), tells_of("interrupted")));
    }
    if (!change.kind.empty() && noted) {
      EXPECT_THAT(records, HasSubstr(R"("user":"root")"));
    }
    if (noted && !done) {
      EXPECT_THAT(records, tells_of("interrupted"));
    }
    const std::string now = instance.route();  // As the state says, so does the kernel.
    if (now == "rpm" || now == "container") {
      EXPECT_EQ(instance.answered_by(), now);
    }
  }

  /// The kinds of the records, and what the one of a change says.
  static std::string told(const std::string& records) {
    std::string text;
    std::istringstream lines(records);
    for (std::string line; std::getline(lines, line);) {
      const boost::json::value record = boost::json::parse(line);
      text += " " + std::string(record.at("kind").as_string());
      if (record.at("change").as_bool()) text += " (" + std::string(record.at("message").as_string()) + ")";
    }
    return text;
  }

  void kill_at_each_step(const Change& change) {
    const std::vector<Step> steps = steps_of(change);
    std::size_t decided = steps.size();
    std::size_t noted = steps.size();
    for (std::size_t i = 0; i < steps.size(); ++i) {
      if (steps[i].name == change.decided_by) decided = i;
      if (steps[i].name == "file in place") noted = std::min(noted, i);
    }
    for (std::size_t i = 0; i < steps.size(); ++i) kill_at(steps[i], change, i >= decided, i >= noted);
    kill_at(Step{1, after_the_answer}, change, true, true);
    kills_ += steps.size() + 1;
  }

  void TearDown() override { std::printf("%zu kills\n", kills_); }

  std::size_t kills_ = 0;
  Instance instance;
};

TEST_F(Killed, AtEachStepOfAChange) {
  instance.do_inside("systemctl start dualdeployd");
  instance.until_healthy();
  const std::string to_rpm = "dualctl revert sample; dualctl release sample; true";
  const std::string to_container = "dualctl release sample; dualctl flip sample container --wait";
  const std::string pending = to_rpm + "; dualctl flip sample container --wait --confirm-within 60s";
  const std::vector<Change> changes{
      {"flip to the container", to_rpm, "dualctl flip sample container --wait", route, "rpm", "container"},
      {"flip to the RPM", to_container, "dualctl flip sample rpm --wait", route, "container", "rpm", "route applied"},
      {"flip of a share", to_rpm, "dualctl flip sample container --percent 25 --wait", route, "rpm", "container 25%"},
      {"flip to be confirmed", to_rpm, "dualctl flip sample container --wait --confirm-within 60s", confirm, "settled", "pending"},
      {"confirm", pending, "dualctl confirm sample", confirm, "pending", "settled", "file in place", "confirm"},
      {"revert", to_container, "dualctl revert sample", route, "container", "rpm", "route applied", "revert"},
      {"hold", to_container, "dualctl hold sample --reason test", hold, "free", "held", "file in place", "hold"},
      {"release", to_container + "; dualctl hold sample --reason test", "dualctl release sample", hold, "held", "free", "file in place", "release"},
      // Needs no agent: it is carried out in any case.
      {"rescue", to_container, "dualctl rescue", route, "container", "rpm", "asked", "rescue"},
      {"start of the agent", to_container, "systemctl restart dualdeployd; until " + settled + "; do sleep 0.05; done", route, "container",
       "container", "", ""},
  };
  Load load(instance, Load::Kind::connection_per_request, 800, "192.0.2.1", 2);
  for (const Change& change : changes) kill_at_each_step(change);
  const Load::Report report = load.stop();
  EXPECT_EQ(report.errors, "") << report.text;
  std::printf("%ld requests, errors: %s\n", report.requests, report.errors.empty() ? "none" : report.errors.c_str());
}

/// The side that serves dies, and the agent as it answers that: wherever it was, the RPM has the traffic in the end.
TEST_F(Killed, AtEachStepOfTheAutomaticRevert) {
  instance.do_inside("systemctl start dualdeployd");
  instance.until_healthy();
  const std::string healthy = "until dualctl status sample | grep -q 'container healthy'; do sleep 0.05; done; ";
  kill_at_each_step({"automatic revert", healthy + "dualctl flip sample container --wait",
                     "docker kill dualdeploy-sample; until [ \"$(" + route + ")\" = rpm ]; do sleep 0.05; done", route, "rpm", "rpm",
                     "route applied", ""});
}

/// One port for both sides: one stops before the other starts, and clients wait meanwhile.
TEST_F(Killed, AtEachStepOfAHandover) {
  instance.write("/etc/dualdeploy/services.d/sample.yaml",
                 "strategy: handover\nhandover_deadline: 4s\nports: [{front: 80}]\n"
                 "rpm: {unit: sample.service, package: dualdeploy-sample, check: {http: {path: /healthz}, interval: 200ms}}\n"
                 "container: {image: 'dualdeploy-sample:latest', command: [--port, '80', --side, container], ulimits: {nofile: 4096},"
                 " check: {http: {path: /healthz}, interval: 200ms}}\n");
  // Each row stops and starts the unit: more often than systemd takes for healthy.
  instance.do_inside("mkdir -p /run/systemd/system/sample.service.d");
  instance.write("/run/systemd/system/sample.service.d/90-kill.conf", "[Unit]\nStartLimitIntervalSec=0\n");
  instance.do_inside("systemctl daemon-reload");
  instance.do_inside("systemctl start dualdeployd");
  instance.until("the RPM is healthy", [&] { return instance.health("rpm") == "healthy"; });
  const std::string to_rpm = "dualctl flip sample rpm --wait";
  const std::string to_container = "dualctl flip sample container --wait";
  Arrivals arrivals("killed");
  kill_at_each_step({"handover to container", to_rpm, to_container, route, "rpm", "container"});
  kill_at_each_step({"handover to the RPM", to_container, to_rpm, route, "container", "rpm"});
  const Arrivals::Report report = arrivals.stop();
  EXPECT_EQ(report.failures, "");
  EXPECT_GT(report.answered, 1'000);
  std::printf("%ld requests answered, failures: %s\n", report.answered, report.failures.empty() ? "none" : report.failures.c_str());
}

}  // namespace
}  // namespace dualdeploy::testing
