// A service that has one port only: a flip stops one side and starts the other, with SYNs held meanwhile.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "instance/support/arrivals.hpp"
#include "instance/support/instance.hpp"
#include "instance/support/kernel.hpp"
#include "instance/support/load.hpp"

namespace dualdeploy::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

/// The sample service with one port for both sides.
void configure(const Instance& instance, const std::string& container_check = "{http: {path: /healthz}, interval: 200ms}") {
  instance.write("/etc/dualdeploy/services.d/sample.yaml",
                 "strategy: handover\nhandover_deadline: 4s\nports: [{front: 80}]\n"
                 "rpm: {unit: sample.service, package: dualdeploy-sample, check: {http: {path: /healthz}, interval: 200ms}}\n"
                 "container: {image: 'dualdeploy-sample:latest', command: [--port, '80', --side, container], ulimits: {nofile: 4096},"
                 " check: " + container_check + "}\n");
}

class OnePort : public Instance {
 public:
  explicit OnePort(const std::string& name) : Instance(name, Agent::installed) {
    configure(*this);
    do_inside("systemctl start dualdeployd");
    until("the RPM is healthy", [this] { return health("rpm") == "healthy"; });
  }
};

const std::string never_healthy = "{http: {path: /nowhere, status: 299}, interval: 200ms}";

/// A flip to the container in the background, as far as it has been started. What the flip says is in /root/flip.
void begin_flip(const Instance& instance, const std::string& container_check) {
  configure(instance, container_check);
  instance.do_inside("systemctl reload dualdeployd; dualctl flip sample container >/root/flip 2>&1 & true");
  instance.until("the container has been started", [&] { return instance.container_pid() != "0" && !instance.container_pid().empty(); });
}

/// "... waited for 480ms" of the newest record.
std::string gap(const Instance& instance) {
  return instance.inside("dualctl history -n 1 | grep -o 'waited for [0-9a-z]*' | tail -n 1 | cut -d' ' -f3").output;
}

TEST(Handover, ThereAndBackUnderLoad) {
  const OnePort instance("handload");
  EXPECT_EQ(instance.answered_by(), "rpm");
  Load load(instance, Load::Kind::connection_per_request, 20);
  for (int i = 0; i < 3; ++i) {
    for (const std::string side : {"container", "rpm"}) {
      const std::string said = instance.do_inside("dualctl flip sample " + side);
      EXPECT_THAT(said, HasSubstr("new connections waited for"));
      EXPECT_EQ(instance.answered_by(), side);
      std::printf("to %s: gap %s", side.c_str(), gap(instance).c_str());
    }
  }
  const Load::Report report = load.finish();
  EXPECT_EQ(report.errors, "") << report.text;
  EXPECT_GT(report.requests, 1'000);
  std::printf("6 handovers, %ld requests, errors: %s\n", report.requests, report.errors.empty() ? "none" : report.errors.c_str());
  EXPECT_NE(instance.inside(kernel().held).status, 0);
}

TEST(Handover, AContainerThatNeverGetsHealthyGoesBackByItself) {
  const OnePort instance("handsick");
  configure(instance, never_healthy);
  instance.do_inside("systemctl reload dualdeployd");
  Load load(instance, Load::Kind::connection_per_request, 12);
  const Outcome flip = instance.inside("dualctl flip sample container");
  EXPECT_EQ(flip.status, 1);
  EXPECT_THAT(flip.output, HasSubstr("the container side was not healthy within 4s"));
  EXPECT_THAT(flip.output, HasSubstr("back on rpm after a gap of"));
  std::printf("%s", flip.output.c_str());
  EXPECT_EQ(instance.answered_by(), "rpm");
  EXPECT_EQ(load.finish().errors, "");  // Clients' SYNs were dropped all the time, and none refused.
  EXPECT_EQ(instance.container_pid(), "0");
}

TEST(Handover, AChangeOfStrategyBeginsAtTheRpm) {
  const Instance instance("handchange");
  const std::string redirect = instance.do_inside("cat /etc/dualdeploy/services.d/sample.yaml");
  instance.flip("container");
  configure(instance);
  instance.do_inside("systemctl reload dualdeployd");
  instance.until("reloaded", [&] { return instance.history().find("its strategy changes") != std::string::npos; });
  EXPECT_EQ(instance.answered_by(), "rpm");
  instance.do_inside("dualctl flip sample container --wait");
  EXPECT_EQ(instance.answered_by(), "container");
  // And the other way round.
  instance.write("/etc/dualdeploy/services.d/sample.yaml", redirect);
  instance.do_inside("systemctl reload dualdeployd; dualctl flip sample container --wait");
  EXPECT_EQ(instance.answered_by(), "container");
  EXPECT_EQ(instance.health("rpm"), "healthy");  // Both run again.
}

TEST(Handover, AContainerThatDiesEndsAtTheRpm) {
  const OnePort instance("handkill");
  instance.do_inside("dualctl flip sample container");
  instance.do_inside("kill -9 " + instance.container_pid());
  instance.until("the RPM has the port", [&] { return instance.answered_by() == "rpm"; });
  EXPECT_THAT(instance.history(), HasSubstr("auto-revert"));
  EXPECT_EQ(instance.route(), "rpm");
}

TEST(Handover, AnAgentThatIsKilledInItEndsAtTheRpm) {
  const OnePort instance("handagent");
  Arrivals arrivals("handagent");
  begin_flip(instance, never_healthy);
  instance.do_inside("systemctl kill -s KILL --kill-who=main dualdeployd");
  instance.until("the RPM has the port", [&] { return instance.answered_by() == "rpm"; });
  instance.until("and it is on record", [&] { return instance.history().find("interrupted") != std::string::npos; });
  EXPECT_EQ(instance.route(), "rpm");
  EXPECT_EQ(instance.container_pid(), "0");
  EXPECT_EQ(arrivals.stop().failures, "");
}

/// Whoever stops the agent in the middle of one does not leave the service without a side.
TEST(Handover, AnAgentThatIsStoppedInItEndsItFirst) {
  const OnePort instance("handstop");
  Arrivals arrivals("handstop");
  begin_flip(instance, never_healthy);
  instance.do_inside("systemctl stop dualdeployd");
  EXPECT_EQ(instance.answered_by(), "rpm");
  EXPECT_NE(instance.inside(kernel().held).status, 0);
  EXPECT_EQ(instance.do_inside("systemctl show -P Result dualdeployd"), "success\n");
  EXPECT_THAT(instance.do_inside("cat /root/flip"), HasSubstr("back on rpm after a gap of"));
  EXPECT_THAT(instance.inside("tail -n 1 /var/lib/dualdeploy/history.jsonl").output, HasSubstr("back on rpm"));
  const Arrivals::Report report = arrivals.stop();
  EXPECT_EQ(report.failures, "");
  EXPECT_GT(report.answered, 100);
}

/// Nor does whoever asked for it go without an answer.
TEST(Handover, AnAgentThatIsStoppedInOneThatSucceedsEndsAfterIt) {
  const OnePort instance("handgood");
  Arrivals arrivals("handgood");
  begin_flip(instance, "{exec: {command: [/usr/bin/test, -e, /run/container-is-well]}, interval: 200ms}");
  instance.do_inside("systemctl stop --no-block dualdeployd");
  instance.until("it is being stopped", [&] { return instance.inside("systemctl is-active dualdeployd").output == "deactivating\n"; });
  instance.do_inside("touch /run/container-is-well");
  instance.until("it has ended", [&] { return instance.inside("systemctl is-active dualdeployd").output == "inactive\n"; });
  EXPECT_EQ(instance.answered_by(), "container");
  EXPECT_NE(instance.inside(kernel().held).status, 0);
  EXPECT_THAT(instance.do_inside("cat /root/flip"), HasSubstr("new connections go to container"));
  EXPECT_THAT(instance.do_inside("tail -n 1 /var/lib/dualdeploy/history.jsonl"), HasSubstr("new connections go to container"));
  const Arrivals::Report report = arrivals.stop();
  EXPECT_EQ(report.failures, "");
  EXPECT_GT(report.answered, 100);
}

/// The container is made ready before clients are held, and a silent engine takes its time: by then a revert has ended it.
TEST(Handover, ARevertWhileTheEngineIsSilentHoldsNobodyLater) {
  const OnePort instance("handhung");
  Arrivals arrivals("handhung");
  instance.do_inside("docker rm -f dualdeploy-sample >/dev/null; systemctl kill -s STOP --kill-who=main docker");
  instance.do_inside("dualctl flip sample container --force >/root/flip 2>&1 & true");
  const auto flips = [&] { return instance.status().at("change").is_object(); };
  instance.until("the flip has begun", flips);
  EXPECT_THAT(instance.do_inside("dualctl revert sample"), ContainsRegex("waited for (0s|[0-9]{1,3}ms)"));
  EXPECT_EQ(instance.answered_by(), "rpm");
  instance.do_inside("systemctl kill -s CONT --kill-who=main docker");
  instance.until("the container has been made ready", [&] { return instance.inside("docker inspect dualdeploy-sample").status == 0; });
  for (int i = 0; i < 20; ++i) EXPECT_NE(instance.inside(kernel().held).status, 0);
  EXPECT_EQ(instance.answered_by(), "rpm");
  EXPECT_EQ(arrivals.stop().failures, "");
}

TEST(Handover, RestartAndRebootOnTheContainer) {
  const OnePort instance("handboot");
  instance.do_inside("dualctl flip sample container");
  const std::string pid = instance.container_pid();
  Load load(instance, Load::Kind::keep_alive, 4);
  instance.do_inside("systemctl restart dualdeployd");
  instance.until("adopted", [&] { return instance.route() == "container" && instance.health("container") == "healthy"; });
  EXPECT_EQ(load.finish().errors, "");  // Nothing was stopped or started for it.
  EXPECT_EQ(instance.container_pid(), pid);
  instance.reboot();
  instance.until("restored", [&] { return instance.answered_by() == "container"; });
  EXPECT_THAT(instance.history(), HasSubstr("restore"));
  instance.do_inside("dualctl revert sample");
  EXPECT_EQ(instance.answered_by(), "rpm");
}

}  // namespace
}  // namespace dualdeploy::testing
