// What goes wrong around the agent: disk, descriptors, memory, container engine, bus, tools of the kernel. Each under a load
// that must not lose a request; a row of the table says what traffic did and what the operator saw.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <chrono>
#include <sstream>

#include "instance/support/instance.hpp"
#include "instance/support/kernel.hpp"
#include "instance/support/load.hpp"

namespace dualdeploy::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* state_directory = "/var/lib/dualdeploy";

std::string without_line_feeds(std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos;) text.replace(at, 1, "; ");
  return text;
}

class Fault : public ::testing::Test {
 protected:
  Fault() : instance("fault", Instance::Agent::installed) {}

  void start_agent() const {
    instance.do_inside("systemctl start dualdeployd");
    instance.until_healthy();
  }

  /// A row: what happens returns what the operator saw.
  void row(const std::string& fault, const std::function<std::string()>& happens) const {
    const std::string before = instance.answered_by();
    Load load(instance, Load::Kind::connection_per_request, 800, "192.0.2.1", 2);
    const std::string seen = happens();
    const std::string after = instance.answered_by();
    const Load::Report report = load.stop();
    EXPECT_EQ(report.errors, "") << fault << "\n" << report.text;
    EXPECT_GT(report.requests, 0) << fault;
    std::printf("%-34s | %s, %ld requests, errors: %s | %s\n", fault.c_str(),
                (before == after ? after : before + " -> " + after).c_str(), report.requests,
                report.errors.empty() ? "none" : report.errors.c_str(), without_line_feeds(seen).c_str());
  }

  /// A change that must fail with status 1 and a reason, and change nothing.
  std::string expect_fails(const std::string& command, const std::string& reason) const {
    const std::string route = instance.route();
    const Outcome outcome = instance.inside(command);
    EXPECT_EQ(outcome.status, 1) << command << "\n" << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr(reason)) << command;
    EXPECT_EQ(instance.route(), route) << command;
    return outcome.output;
  }

  [[nodiscard]] std::string journal() const { return instance.inside("journalctl -u dualdeployd --no-pager -o cat").output; }
  [[nodiscard]] std::string agent_pid() const { return instance.do_inside("systemctl show -p MainPID --value dualdeployd | tr -d '\\n'"); }

  Instance instance;
};

// ---- Disk --------------------------------------------------------------------------------------------------------------

/// A way back never waits for a disk; anything else is not done before it is durable.
TEST_F(Fault, DiskFullOrReadOnly) {
  instance.do_inside(std::string("mount -t tmpfs -o size=256k,mode=0755 tmpfs ") + state_directory);
  start_agent();
  const std::vector<std::tuple<std::string, std::string, std::string, std::string>> faults{
      {"disk full", std::string("dd if=/dev/zero of=") + state_directory + "/fill bs=4k 2>/dev/null; true",
       std::string("rm ") + state_directory + "/fill", "No space left on device"},
      {"disk read-only", std::string("mount -o remount,ro ") + state_directory, std::string("mount -o remount,rw ") + state_directory,
       "Read-only file system"},
  };
  for (const auto& [name, begin, end, reason] : faults) {
    instance.flip("container");
    row(name, [&, begin = begin, end = end, reason = reason] {
      instance.do_inside(begin);
      const std::string failed = expect_fails("dualctl flip sample rpm", reason);
      (void)expect_fails("dualctl hold sample --reason test", reason);
      // The way back is gone at once, and whoever asked is told that it is not saved yet.
      EXPECT_THAT(instance.do_inside("dualctl revert sample"), AllOf(HasSubstr("WARNING"), HasSubstr(reason)));
      EXPECT_EQ(instance.answered_by(), "rpm");
      (void)expect_fails("dualctl flip sample container --wait", reason);
      EXPECT_THAT(instance.do_inside("dualctl status"), HasSubstr(reason));
      instance.do_inside(end);
      instance.until("it is saved after all", [&] { return instance.inside("dualctl status").output.find(reason) == std::string::npos; });
      instance.do_inside("systemctl kill -s KILL --kill-who=main dualdeployd");
      instance.until_healthy();
      EXPECT_EQ(instance.route(), "rpm");
      return failed;
    });
  }
}

/// Each flush of the agent's takes seconds. What waits for the disk takes as long; checks and ways back do not.
TEST_F(Fault, SlowDisk) {
  constexpr auto flush = 2s;
  instance.push_program("/usr/bin/strace");
  start_agent();
  row("disk slow, 2 s a flush", [&] {
    instance.do_inside("setsid strace -f -qq -o /dev/null -e trace=fsync,fdatasync -e inject=fsync,fdatasync:delay_enter=" +
                       std::to_string(flush / 1us) + " -p " + agent_pid() + " >/root/strace 2>&1 </dev/null & echo $! >/root/strace.pid; "
                       "until grep -q '^TracerPid:.[1-9]' /proc/" + agent_pid() + "/status; do sleep 0.05; done");
    using Clock = std::chrono::steady_clock;
    const auto begun = Clock::now();
    instance.do_inside("dualctl flip sample container --timeout 60s");
    const double flipped_s = std::chrono::duration<double>(Clock::now() - begun).count();
    EXPECT_GE(flipped_s, 2 * std::chrono::duration<double>(flush).count());  // At the least, the intent and the new state.
    // The answer to a revert waits for the disk, and its traffic does not.
    instance.do_inside("setsid dualctl revert sample >/root/revert 2>&1 </dev/null &");
    instance.until("the traffic is back", [&] { return instance.answered_by() == "rpm"; });
    EXPECT_EQ(instance.inside("cat /root/revert").output, "");
    instance.until("the revert is acknowledged", [&] { return instance.inside("cat /root/revert").output.find("rpm") != std::string::npos; });
    EXPECT_EQ(instance.health("container"), "healthy");
    instance.do_inside("dualctl flip sample container --timeout 60s");
    char text[100];
    std::snprintf(text, sizeof text, "a flip took %.1f s; a revert's traffic did not wait", flipped_s);
    return std::string(text);
  });
  // Nor does the automatic revert, whose requests under way end with the container.
  instance.do_inside("docker kill dualdeploy-sample >/dev/null");
  instance.until("the traffic is on the RPM", [&] { return instance.answered_by() == "rpm"; }, flush);
  instance.do_inside("kill $(cat /root/strace.pid)");
  instance.until_healthy();
}

// ---- The agent's own limits ----------------------------------------------------------------------------------------------

/// What the agent cannot do for want of descriptors is no failure of a side.
TEST_F(Fault, NoFileDescriptors) {
  start_agent();
  instance.flip("container");
  row("no file descriptors", [&] {
    const std::string pid = agent_pid();
    const std::string limit = instance.do_inside("prlimit --pid " + pid + " --nofile -o SOFT --noheadings | tr -d ' \\n'");
    instance.do_inside("prlimit --pid " + pid + " --nofile=3:");  // It keeps what it has, and gets nothing new.
    instance.until("it is in the journal", [&] { return journal().find("cannot be checked") != std::string::npos; });
    std::string seen = instance.inside("journalctl -u dualdeployd --no-pager -o cat | grep -m 1 'cannot be checked'").output;
    EXPECT_THAT(seen, HasSubstr("Too many open files"));
    EXPECT_EQ(instance.answered_by(), "container");
    // Without descriptors it cannot tell systemd either that it is alive: if this lasts, the watchdog starts another.
    (void)instance.inside("prlimit --pid " + pid + " --nofile=" + limit + ":");
    instance.until_healthy();
    instance.until("no alarm is left", [&] { return instance.inside("dualctl status").output.find("cannot be checked") == std::string::npos; });
    EXPECT_EQ(instance.route(), "container") << instance.history();
    instance.flip("rpm");
    return seen;
  });
}

TEST_F(Fault, OutOfMemory) {
  start_agent();
  instance.flip("container");
  // Less than it can start with: killed each time, until systemd gives up; then the rescue.
  row("memory limit too low", [&] {
    instance.do_inside("mkdir -p /run/systemd/system/dualdeployd.service.d /root/small");
    instance.write("/run/systemd/system/dualdeployd.service.d/90-memory.conf",
                   "[Service]\nMemoryMax=1M\nProtectControlGroups=no\nExecStart=\n"
                   // With version 1 of cgroups the instance's systemd has no controllers of its own.
                   "ExecStart=/bin/sh -c 'small=/sys/fs/cgroup/memory/small; if mkdir -p $small; then echo 1M >$small/memory.limit_in_bytes; "
                   "echo $$$$ >$small/cgroup.procs; fi; exec /usr/sbin/dualdeployd'\n");
    instance.do_inside("systemctl daemon-reload; systemctl kill -s KILL --kill-who=main dualdeployd");
    instance.until("systemd gives up", [&] { return instance.inside("systemctl is-failed -q dualdeployd").status == 0; });
    instance.until("the RPM has the traffic", [&] { return instance.answered_by() == "rpm"; });
    const std::string seen = instance.inside("systemctl status dualdeployd --no-pager | grep -e Active: -e oom").output;
    instance.do_inside("rm /run/systemd/system/dualdeployd.service.d/90-memory.conf; systemctl daemon-reload; "
                       "systemctl reset-failed dualdeployd.service dualdeployd.socket; systemctl start dualdeployd");
    instance.until_healthy();
    EXPECT_EQ(instance.route(), "rpm");
    EXPECT_THAT(instance.history(), HasSubstr("rescue"));
    return seen;
  });
}

// ---- The container engine ------------------------------------------------------------------------------------------------

/// Neither silence nor nonsense says anything of the container: its checks do.
TEST_F(Fault, EngineHungOrTalkingNonsense) {
  start_agent();
  instance.flip("container");
  row("dockerd hung", [&] {
    instance.do_inside("systemctl kill -s STOP --kill-who=main docker");
    instance.until("it is noticed", [&] { return instance.inside("dualctl status").output.find("container engine") != std::string::npos; });
    const std::string seen = instance.do_inside("dualctl status | grep 'container engine'");
    EXPECT_EQ(instance.route(), "container");
    EXPECT_EQ(instance.health("container"), "healthy");
    instance.do_inside("systemctl kill -s CONT --kill-who=main docker");
    instance.until("it is over", [&] { return instance.inside("dualctl status").output.find("container engine") == std::string::npos; });
    return seen;
  });
  const std::string request = "while read -r line && [ ${#line} -gt 1 ]; do :; done; ";
  const std::map<std::string, std::string> talks{
      {"dockerd answers garbage", "head -c 100000 /dev/urandom"},
      {"dockerd answers wrong JSON", request + "printf \"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: 9\\r\\n\\r\\n[1,{}, 2]\""},
      {"dockerd never ends its answer", request + "printf \"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n\"; yes 10000000000000000"}};
  for (const auto& [name, says] : talks) {
    row(name, [&, says = says] {
      instance.write("/root/engine.sh", "#!/bin/sh\n" + says + "\n");
      instance.do_inside("chmod +x /root/engine.sh; mv /run/docker.sock /run/docker.real; setsid socat UNIX-LISTEN:/run/docker.sock,fork,unlink-close=0 "
                         "SYSTEM:'/root/engine.sh' >/dev/null 2>&1 </dev/null & echo $! >/root/engine.pid; systemctl restart dualdeployd");
      instance.until("it is noticed", [&] { return instance.inside("dualctl status").output.find("container engine") != std::string::npos; });
      const std::string seen = instance.do_inside("dualctl status | grep -m 1 'container engine'");
      instance.until("the checks go on", [&] { return instance.health("container") == "healthy"; });
      EXPECT_EQ(instance.route(), "container") << instance.history();
      instance.do_inside("kill $(cat /root/engine.pid); mv -f /run/docker.real /run/docker.sock");
      instance.until("it is over", [&] { return instance.inside("dualctl status").output.find("container engine") == std::string::npos; });
      EXPECT_EQ(instance.route(), "container") << instance.history();
      return seen;
    });
  }
}

/// Events of a container by the thousand: none of them costs a request, and the loop is never stuck.
TEST_F(Fault, ThousandEventsASecond) {
  start_agent();
  instance.flip("container");
  row("storm of events", [&] {
    const std::string pid = agent_pid();
    instance.do_inside("i=0; while [ $i -lt 5000 ]; do i=$((i+1)); echo add counter ip storm c$i; done >/root/storm");
    instance.write("/root/storm.sh",
                   "took() { begin=$(date +%s%N); \"$@\"; echo $(($(date +%s%N) - begin)); }\n"
                   "rules() { nft -i </root/storm >/dev/null; }\n"
                   // SIGWINCH means nothing to the program; each is an event of its container.
                   "engine() { for i in 1 2 3 4; do curl -s -o /dev/null --unix-socket /run/docker.sock -X POST "
                   "'http://d/containers/dualdeploy-sample/kill?signal=SIGWINCH&n=[1-500]' & done; wait; }\n"
                   "nft add table ip storm; took rules; took engine; nft delete table ip storm\n");
    const std::string flips = "while kill -0 $storm 2>/dev/null; do dualctl flip sample rpm >/dev/null && dualctl flip sample container >/dev/null || exit 1; "
                              "flips=$((flips+2)); done; ";
    std::istringstream told(instance.do_inside("sh /root/storm.sh >/root/took & storm=$!; flips=0; " + flips + "wait; cat /root/took; echo $flips"));
    double rules = 0;
    double engine = 0;
    int flipped = 0;
    told >> rules >> engine >> flipped;
    EXPECT_GT(flipped, 0);
    EXPECT_EQ(agent_pid(), pid);
    EXPECT_EQ(instance.route(), "container") << instance.history();
    char text[200];
    std::snprintf(text, sizeof text, "nothing; %.0f rule changes of others a second, then %.0f events of the container a second; %d flips meanwhile",
                  5000 / (rules / 1e9), 2000 / (engine / 1e9), flipped);
    return std::string(text);
  });
}

/// More than dockerd itself can tell of. The engine is a script here, which leaves all else to dockerd.
TEST_F(Fault, ThousandEventsOfTheContainerASecond) {
  start_agent();
  instance.flip("container");
  const std::string id = without_line_feeds(instance.do_inside("docker inspect -f '{{.Id}}' dualdeploy-sample"));
  const std::string event = R"({"status":"kill","id":")" + id + R"(","Type":"container","Action":"kill","Actor":{"ID":")" + id +
                            R"(","Attributes":{"name":"dualdeploy-sample","signal":"28"}},"scope":"local","time":1,"timeNano":1})" "\n";
  char size[20];
  std::snprintf(size, sizeof size, "%zx", event.size());
  instance.write("/root/engine.sh",
                 "#!/bin/sh\n"
                 "read -r first; request=$first\n"
                 "while read -r line && [ ${#line} -gt 1 ]; do request=\"$request\n$line\"; done\n"
                 "case \"$first\" in\n"
                 "*/events*) printf 'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n'\n"
                 "    while cat /root/batch; do echo >>/root/batches; sleep 0.1; done ;;\n"
                 "*) { printf '%s\n\\r\\n' \"$request\"; cat; } | socat - UNIX-CONNECT:/run/docker.real ;;\n"
                 "esac\n");
  row("1,000 events of it a second", [&] {
    instance.do_inside("i=0; while [ $i -lt 110 ]; do i=$((i+1)); printf '" + std::string(size) + "\\r\\n" + event + "\\r\\n'; done >/root/batch; "
                       "chmod +x /root/engine.sh; mv /run/docker.sock /run/docker.real; setsid socat UNIX-LISTEN:/run/docker.sock,fork,unlink-close=0 "
                       "EXEC:/root/engine.sh >/dev/null 2>&1 </dev/null & echo $! >/root/engine.pid");
    instance.do_inside("rm -f /root/batches; systemctl restart dualdeployd");
    instance.until("events come", [&] { return std::atoi(instance.inside("wc -l </root/batches").output.c_str()) >= 10; });
    const std::string before = agent_pid();
    std::istringstream told(instance.do_inside(
        "begin=$(date +%s%N); had=$(wc -l </root/batches); flips=0; while [ $flips -lt 100 ] || [ $(($(date +%s%N) - begin)) -lt 5000000000 ]; do "
        "dualctl flip sample rpm >/dev/null && dualctl flip sample container >/dev/null || exit 1; flips=$((flips+2)); done; "
        "echo $(($(wc -l </root/batches) - had)) $(($(date +%s%N) - begin)) $flips"));
    double batches = 0;
    double nanoseconds = 0;
    int flips = 0;
    told >> batches >> nanoseconds >> flips;
    EXPECT_EQ(agent_pid(), before);
    EXPECT_EQ(instance.route(), "container") << instance.history();
    EXPECT_GE(110 * batches / (nanoseconds / 1e9), 800);  // As many as the script was to tell.
    instance.do_inside("kill $(cat /root/engine.pid); pkill -f '[e]ngine.sh'; mv -f /run/docker.real /run/docker.sock");
    instance.until_healthy();
    char text[200];
    std::snprintf(text, sizeof text, "nothing; %.0f events a second, %d flips meanwhile", 110 * batches / (nanoseconds / 1e9), flips);
    return std::string(text);
  });
}

// ---- systemd and its bus ---------------------------------------------------------------------------------------------------

TEST_F(Fault, BusGoneAndSystemdExecutedAnew) {
  start_agent();
  instance.flip("container");
  const std::string pid = agent_pid();
  row("bus gone", [&] {
    instance.do_inside("systemctl stop dbus.socket dbus.service");
    instance.until("it is noticed", [&] { return instance.inside("dualctl status").output.find("bus") != std::string::npos; });
    const std::string seen = instance.do_inside("dualctl status | grep -i -m 1 bus");
    EXPECT_EQ(instance.health("rpm"), "healthy");  // The checks go on.
    instance.flip("rpm");
    instance.flip("container");
    instance.do_inside("systemctl start dbus.socket dbus.service");
    instance.until("it is over", [&] { return instance.inside("dualctl status").output.find("bus") == std::string::npos; });
    return seen;
  });
  row("systemctl daemon-reexec, 5 times", [&] {
    for (int i = 0; i < 5; ++i) instance.do_inside("systemctl daemon-reexec");
    EXPECT_EQ(instance.route(), "container");
    instance.until_healthy();
    // It still hears of what happens to the unit.
    instance.do_inside("systemctl kill -s KILL sample");
    instance.until("the death is known", [&] { return instance.history().find("rpm") != std::string::npos &&
                                                      instance.inside("dualctl history --all").output.find("SIGKILL") != std::string::npos; });
    instance.until_healthy();
    return "nothing";
  });
  EXPECT_EQ(agent_pid(), pid);
}

/// A unit that dies at each start, while the container has the traffic.
TEST_F(Fault, UnitInACrashLoop) {
  start_agent();
  instance.flip("container");
  row("RPM's unit in a crash loop", [&] {
    instance.do_inside("mkdir -p /run/systemd/system/sample.service.d; printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\nRestart=always\\n"
                       "RestartSec=50ms\\n' >/run/systemd/system/sample.service.d/loop.conf; systemctl daemon-reload; systemctl kill -s KILL sample");
    instance.until("it is known", [&] { return instance.health("rpm") == "sick" && instance.inside("systemctl is-failed -q sample").status == 0; });
    const Outcome refused = instance.inside("dualctl flip sample rpm");
    EXPECT_EQ(refused.status, 3) << refused.output;
    instance.until("the agent tried, with pauses", [&] { return instance.inside("dualctl history --all | grep -c 'starting ('").output[0] >= '3'; });
    EXPECT_EQ(instance.answered_by(), "container");
    instance.do_inside("rm /run/systemd/system/sample.service.d/loop.conf; systemctl daemon-reload; systemctl reset-failed sample");
    instance.until_healthy();
    instance.flip("rpm");
    return refused.output;
  });
}

// ---- The kernel's tools ------------------------------------------------------------------------------------------------------

/// nft is not there, or fails: what is in the kernel stays; when the container dies then, the lease ends the redirect.
TEST_F(Fault, NftMissingOrFailing) {
  if (kernel().backend != "nftables") GTEST_SKIP() << "about nftables' tool";
  instance.write_agent_config("lease: 6s\n");
  start_agent();
  instance.flip("container");
  instance.do_inside("cp -a /usr/sbin/nft /usr/sbin/nft.real");
  const std::map<std::string, std::pair<std::string, std::string>> faults{
      {"nft missing", {"rm /usr/sbin/nft", "cannot run nft"}},
      {"nft failing", {"printf '#!/bin/sh\\necho Error: Operation not supported >&2; exit 1\\n' >/usr/sbin/nft.new; chmod +x /usr/sbin/nft.new; "
                       "mv /usr/sbin/nft.new /usr/sbin/nft", "Operation not supported"}},
  };
  for (const auto& [name, how] : faults) {
    row(name, [&, how = how] {
      instance.do_inside(how.first);
      const std::string seen = expect_fails("dualctl flip sample rpm", how.second);
      EXPECT_EQ(instance.answered_by(), "container");
      instance.do_inside("mv -f /usr/sbin/nft /root/broken 2>/dev/null; cp -a /usr/sbin/nft.real /usr/sbin/nft");
      instance.flip("rpm");
      instance.flip("container");
      return seen;
    });
  }
  // Without a load: until the lease ends, clients meet a container that is gone.
  instance.do_inside("rm /usr/sbin/nft; docker kill dualdeploy-sample >/dev/null");
  const auto killed = std::chrono::steady_clock::now();
  instance.until("the lease has ended", [&] { return instance.answered_by() == "rpm"; });
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - killed).count();
  const std::string status = instance.inside("dualctl status | grep -m 1 -i alarm").output;
  std::printf("%-34s | container -> rpm after %.1f s, by the end of the lease (6 s) | %s\n", "nft missing, container dies", seconds,
              without_line_feeds(status).c_str());
  EXPECT_THAT(instance.do_inside("dualctl status"), HasSubstr("cannot run nft")) << journal();
  instance.do_inside("cp -a /usr/sbin/nft.real /usr/sbin/nft");
  instance.until_healthy();
  instance.until("no alarm is left", [&] { return instance.inside("dualctl status").output.find("cannot run nft") == std::string::npos; });
  EXPECT_EQ(instance.route(), "rpm");
  instance.flip("container");
}

/// Somebody holds the lock that all of iptables' tools take.
TEST_F(Fault, LockOfIptablesHeld) {
  instance.do_inside("update-alternatives --set iptables /usr/sbin/iptables-legacy >/dev/null; update-alternatives --set ip6tables "
                     "/usr/sbin/ip6tables-legacy >/dev/null; systemctl restart docker; nft flush ruleset");
  instance.write("/etc/dualdeploy/agent.yaml", "traffic: {backend: iptables}\n");
  start_agent();
  instance.flip("container");
  row("lock of iptables held for 2 s", [&] {
    instance.do_inside("setsid flock /run/xtables.lock sleep 2 >/dev/null 2>&1 </dev/null & sleep 0.2; dualctl flip sample rpm");
    EXPECT_EQ(instance.answered_by(), "rpm");
    instance.flip("container");
    return "the flip waited, and was done";
  });
  row("lock of iptables held for long", [&] {
    instance.do_inside("setsid flock /run/xtables.lock sleep 1000 >/dev/null 2>&1 </dev/null & echo $! >/root/lock.pid; sleep 0.2");
    const std::string seen = expect_fails("dualctl flip sample rpm", "lock");
    EXPECT_EQ(instance.answered_by(), "container");
    instance.do_inside("pkill -P $(cat /root/lock.pid); kill $(cat /root/lock.pid) 2>/dev/null; true");
    instance.flip("rpm");
    EXPECT_EQ(instance.answered_by(), "rpm");
    return seen;
  });
}

// ---- Many ----------------------------------------------------------------------------------------------------------------------

TEST_F(Fault, TwoHundredServices) {
  start_agent();
  row("200 services", [&] {
    // One unit and one image serve all of them, each on a port of its own.
    instance.do_inside(
        "ports=; for i in $(seq 200); do ports=\"$ports --port $((10000 + i))\"; "
        "printf 'ports: [{front: %d, container: %d}]\\nparity: false\\nrpm: {unit: many.service}\\n"
        "container: {image: \"dualdeploy-sample:latest\", standby: cold, command: [--port, \"%d\", --side, container]}\\n' "
        "$((10000 + i)) $((20000 + i)) $((20000 + i)) >/etc/dualdeploy/services.d/many$i.yaml; done; "
        "printf '[Service]\\nLimitNOFILE=65536\\nExecStart=/usr/bin/dualdeploy-sample --side rpm%s\\n' \"$ports\" >/run/systemd/system/many.service; "
        "systemctl daemon-reload; systemctl start many; systemctl reload dualdeployd");
    instance.until("all are known and settled", [&] {
      const Outcome outcome = instance.inside("dualctl --json status");
      return outcome.output.find("\"many200\"") != std::string::npos && outcome.output.find("\"ready\":true") != std::string::npos;
    }, 120s);
    for (const std::string service : {"many1", "many100", "many200", "sample"}) {
      instance.do_inside("dualctl flip " + service + " container --wait");
    }
    EXPECT_EQ(instance.answered_by("192.0.2.1:10100"), "container");
    EXPECT_EQ(instance.answered_by("192.0.2.1:10101"), "rpm");
    const std::string seen = instance.do_inside("dualctl history many200 | tail -n 1");
    instance.do_inside("systemctl kill -s KILL --kill-who=main dualdeployd");
    instance.until("adopted", [&] { return instance.inside("dualctl --json status").output.find("\"ready\":true") != std::string::npos; }, 120s);
    EXPECT_EQ(instance.answered_by("192.0.2.1:10200"), "container");
    EXPECT_EQ(instance.answered_by(), "container");
    return seen;
  });
}

}  // namespace
}  // namespace dualdeploy::testing
