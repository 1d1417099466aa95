// The agent itself fails; the kernel and systemd take over.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "instance/support/instance.hpp"
#include "instance/support/kernel.hpp"
#include "instance/support/load.hpp"
#include "instance/support/talk.hpp"

namespace dualdeploy::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Agent, KilledUnderLoadIsRestartedAndAdopts) {
  const Instance instance("agentkill");
  instance.flip("container");
  Load load(instance, Load::Kind::connection_per_request, 12);
  for (int i = 0; i < 5; ++i) {
    instance.do_inside("systemctl kill -s KILL --kill-who=main dualdeployd");
    instance.until("the agent is back", [&] { return instance.inside("systemctl is-active dualdeployd").output == "active\n"; });
    EXPECT_EQ(instance.route(), "container");
  }
  const Load::Report report = load.finish();
  EXPECT_EQ(report.errors, "") << report.text;
  EXPECT_EQ(instance.answered_by(), "container");
  EXPECT_THAT(instance.history(), HasSubstr("traffic not touched"));
  EXPECT_THAT(instance.history(), Not(HasSubstr("interrupted")));
}

TEST(Agent, KeptDeadTheLeaseEnds) {
  const Instance instance("agentdead");
  instance.write_agent_config("lease: 6s\n");
  instance.do_inside("systemctl reload dualdeployd");
  instance.flip("container");
  instance.do_inside("systemctl mask --runtime dualdeployd.service; systemctl kill -s KILL --kill-who=main dualdeployd");
  EXPECT_EQ(instance.answered_by(), "container");  // Dead, and nothing has changed yet.
  Load load(instance, Load::Kind::connection_per_request, 12);
  instance.until("the kernel has ended the lease", [&] { return instance.answered_by() == "rpm"; }, std::chrono::seconds(15));
  EXPECT_EQ(load.finish().errors, "");
  EXPECT_EQ(instance.inside("pidof dualdeployd").output, "");
  // Back again, it restores what was acknowledged, once the container is healthy.
  instance.do_inside("systemctl unmask --runtime dualdeployd.service; systemctl reset-failed dualdeployd; systemctl start dualdeployd");
  instance.until("the saved route is back", [&] { return instance.answered_by() == "container"; });
}

TEST(Agent, FrozenIsKilledByTheWatchdog) {
  const Instance instance("agentstop");
  instance.flip("container");
  const std::string pid = instance.do_inside("pidof dualdeployd");
  instance.do_inside("systemctl kill -s STOP --kill-who=main dualdeployd");
  EXPECT_EQ(instance.answered_by(), "container");
  instance.until("another agent runs", [&] {
    const std::string now = instance.inside("pidof dualdeployd").output;
    return !now.empty() && now != pid && instance.route() == "container";
  });
  EXPECT_THAT(instance.do_inside("journalctl -u dualdeployd --no-pager"), HasSubstr("Watchdog timeout"));
  EXPECT_EQ(instance.answered_by(), "container");
}

TEST(Agent, FailedForGoodEverythingIsRescued) {
  const Instance instance("agentfail");
  instance.flip("container");
  instance.write_agent_config("lease: forever\n");
  instance.do_inside("systemctl kill -s KILL --kill-who=main dualdeployd");
  instance.until("the failsafe has run", [&] { return instance.answered_by() == "rpm"; });
  EXPECT_NE(instance.inside(kernel().list).status, 0);
  instance.write_agent_config("lease: 60s\n");
  instance.do_inside("systemctl reset-failed dualdeployd; systemctl start dualdeployd");
  instance.until_healthy();
  EXPECT_EQ(instance.route(), "rpm");
  EXPECT_THAT(instance.history(), HasSubstr("dualdeployd failed"));
}

TEST(Agent, RulesFlushedByHandAreBack) {
  const Instance instance("agentdrift");
  instance.flip("container");
  Load load(instance, Load::Kind::connection_per_request, 8);
  for (const std::string& vandalism : kernel().vandalism) {
    instance.do_inside(vandalism);
    instance.until("repaired after " + vandalism, [&] { return instance.inside(kernel().whole).status == 0; });
  }
  EXPECT_EQ(load.finish().errors, "");
  EXPECT_EQ(instance.answered_by(), "container");
  const std::string drifts = instance.do_inside("dualctl history | grep drift");
  std::printf("%s", drifts.c_str());
  EXPECT_THAT(drifts, HasSubstr(kernel().drift_gone));
  EXPECT_THAT(drifts, HasSubstr("our rules were changed; put back"));
}

TEST(Agent, FlushedOpenConnectionsLiveOnBeforeAnyRepair) {
  const Instance instance("agentopen");
  instance.flip("container");
  const auto signal_agent = [&](const std::string& name) {
    instance.do_inside("systemctl kill -s " + name + " --kill-who=main dualdeployd");
  };
  for (const std::string address : {"TCP4:192.0.2.1:80", "TCP6:[2001:db8::1]:80"}) {
    const std::string heard = talk(instance, address, [&] {
      signal_agent("STOP");
      instance.do_inside(kernel().flush);
    });
    EXPECT_THAT(heard, HasSubstr("container: second"));
    EXPECT_NE(instance.inside(kernel().list).status, 0);
    signal_agent("CONT");
    instance.until("repaired", [&] { return instance.answered_by() == "container"; });
  }
}

TEST(Agent, FlushedUnderLoadNothingIsLost) {
  const Instance instance("agentflush");
  instance.flip("container");
  // Docker's rules go with the flush: that the kernel goes on tracking and translating is on the agent alone.
  Load load(instance, Load::Kind::connection_per_request, 12);
  for (int i = 0; i < 20; ++i) {
    const std::string repairs = instance.do_inside("dualctl history -n 1000 | grep -c drift || true");
    instance.do_inside(kernel().flush);
    instance.until("repaired", [&] { return instance.inside("dualctl history -n 1000 | grep -c drift").output != repairs; });
  }
  const Load::Report report = load.finish();
  EXPECT_EQ(report.errors, "") << report.text;
  EXPECT_EQ(instance.answered_by(), "container");
  std::printf("20 flushes, %ld requests, errors: %s\n", report.requests, report.errors.empty() ? "none" : report.errors.c_str());
}

TEST(Agent, RulesOfOthersAreNotTouched) {
  const Instance instance("agentothers");
  instance.do_inside(kernel().intruder);
  const std::string& others = kernel().list_others;
  const std::string before = instance.do_inside(others);
  instance.flip("container");
  instance.flip("rpm");
  instance.do_inside("dualctl rescue");
  EXPECT_EQ(instance.do_inside(others), before);
  EXPECT_NE(instance.inside(kernel().list).status, 0);
  EXPECT_EQ(instance.answered_by(), "rpm");
}

/// Others flush, replace and rebuild the rules of everybody, in the middle of a load on the container. Ours are back each
/// time, and theirs are afterwards what they made them, to the byte.
TEST(Agent, OthersChangeTheirRulesAndOnlyOursArePutBack) {
  if (kernel().backend != "iptables") GTEST_SKIP() << "about rules in tables that everybody shares: iptables'";
  const Instance instance("agentbeside", Instance::Agent::absent);
  instance.write("/root/theirs",
                 "*mangle\n:PREROUTING ACCEPT\n-A PREROUTING -p tcp -m tcp --dport 4712 -j MARK --set-mark 7\nCOMMIT\n"
                 "*nat\n:PREROUTING ACCEPT\n:theirs -\n-A PREROUTING -p tcp -m tcp --dport 4713 -j REDIRECT --to-ports 4714\n"
                 "-A PREROUTING -j theirs\n-A theirs -p tcp -m tcp --dport 4715 -m comment --comment \"not dualdeploy's\" -j RETURN\nCOMMIT\n"
                 "*filter\n:INPUT ACCEPT\n:IN_public -\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -j IN_public\n"
                 "-A IN_public -p tcp -m tcp --dport 80 -m conntrack --ctstate NEW -j ACCEPT\n"
                 "-A IN_public -p tcp -m tcp --dport 8080 -m conntrack --ctstate NEW -j ACCEPT\nCOMMIT\n");
  instance.do_inside("iptables-restore --noflush /root/theirs; ip6tables-restore --noflush /root/theirs");
  // Docker as it is after a restart that containers survive: that decides in which order it writes its rules.
  instance.do_inside("mkdir -p /etc/docker && echo '{\"live-restore\": true}' >/etc/docker/daemon.json && systemctl reload docker && "
                     "docker run -d --net host dualdeploy-sample --port 4716 && systemctl restart docker");
  instance.until("Docker has written its rules", [&] {
    return instance.inside("iptables-save | grep -A1 -e '-A FORWARD -j DOCKER-ISOLATION' | grep -q DOCKER-USER").status == 0;
  });
  instance.do_inside("iptables-save >/root/saved4; ip6tables-save >/root/saved6");
  const std::string& others = kernel().list_others;
  const std::string before = instance.do_inside(others);
  EXPECT_THAT(before, HasSubstr("--dport 4715"));
  EXPECT_THAT(before, HasSubstr("DOCKER"));

  instance.install_agent();
  instance.flip("container");
  EXPECT_EQ(instance.do_inside(others), before);
  Load load(instance, Load::Kind::connection_per_request, 12);
  const auto do_as_others = [&](const std::string& command) {
    const std::string repairs = instance.do_inside("dualctl history -n 1000 | grep -c drift || true");
    instance.do_inside(command);
    instance.until("repaired after " + command, [&] {
      return instance.inside("dualctl history -n 1000 | grep -c drift").output != repairs && instance.inside(kernel().whole).status == 0;
    });
    return instance.do_inside(others);
  };
  const std::string restored = "iptables-restore /root/saved4; ip6tables-restore /root/saved6";
  EXPECT_EQ(do_as_others(restored), before);
  // What iptables -F is to theirs it is on a machine without us: chains without a rule.
  std::string flushed = before;
  const std::size_t filter = flushed.find("*filter\n");
  for (std::size_t at = flushed.find("\n-A", filter); at < flushed.find("COMMIT", filter); at = flushed.find("\n-A", at)) {
    flushed.erase(at, flushed.find('\n', at + 1) - at);
  }
  EXPECT_EQ(do_as_others("iptables -w -F"), flushed);
  EXPECT_EQ(do_as_others(restored), before);
  // As firewalld reloads on CentOS 7: nothing gets in, all of everybody's rules go, its own are written again, and others'
  // (Docker's) are left to them.
  EXPECT_EQ(do_as_others("for f in iptables ip6tables; do $f -w -P INPUT DROP; for t in mangle nat filter; do $f -w -t $t -F; $f -w -t $t -X; done; done; " +
                         restored + "; for f in iptables ip6tables; do $f -w -P INPUT ACCEPT; done"),
            before);
  // Docker writes its rules again when it starts, and goes on with it after it has said that it is up.
  instance.do_inside("systemctl restart docker");
  EXPECT_EQ(instance.inside(kernel().whole).status, 0);
  instance.until("Docker's rules are what they were", [&] { return instance.do_inside(others) == before; });
  const Load::Report report = load.finish();
  EXPECT_EQ(report.errors, "") << report.text;
  EXPECT_EQ(instance.answered_by(), "container");
  std::printf("%s%ld requests, errors: %s\n", instance.do_inside("dualctl history | grep drift").c_str(), report.requests,
              report.errors.empty() ? "none" : report.errors.c_str());
}

TEST(Agent, BadReloadKeepsTheOldConfiguration) {
  const Instance instance("agentreload");
  instance.flip("container");
  instance.write_agent_config("leese: 60s\n");
  instance.do_inside("systemctl reload dualdeployd");
  instance.until("the agent says so", [&] {
    return instance.inside("dualctl history --all").output.find("did you mean 'lease'") != std::string::npos;
  });
  EXPECT_EQ(instance.answered_by(), "container");
  EXPECT_EQ(instance.route(), "container");
}

}  // namespace
}  // namespace dualdeploy::testing
