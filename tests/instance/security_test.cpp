// How little the units may, that everything works under it, and attacks that were tried.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <vector>

#include "instance/support/instance.hpp"
#include "instance/support/kernel.hpp"

namespace dualdeploy::testing {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string service_file = "/etc/dualdeploy/services.d/sample.yaml";

/// The RPM for CentOS 7 has no drop-ins: there is nothing to look at.
bool confined(const Instance& instance) {
  return instance.inside("systemctl cat dualdeployd | grep -q ^CapabilityBoundingSet").status == 0;
}

std::string without_end(std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

/// A drop-in of a test's own, for the next start.
void drop_in(const Instance& instance, const std::string& unit, const std::string& content) {
  instance.do_inside("mkdir -p /run/systemd/system/" + unit + ".service.d");
  instance.write("/run/systemd/system/" + unit + ".service.d/90-test.conf", content);
  instance.do_inside("systemctl daemon-reload");
}

void append(const Instance& instance, const std::string& file, const std::string& text) {
  instance.do_inside("printf %s " + quoted(text) + " >> " + file);
}

// ---- How little the units may -----------------------------------------------------------------------------

TEST(Security, ExposureOfTheUnits) {
  const Instance instance("secscore", Instance::Agent::installed);
  if (!confined(instance)) GTEST_SKIP() << "no drop-ins on systemd 219";
  constexpr double most = 2.0;
  for (const std::string unit : {"dualdeployd", "dualdeploy-failsafe", "dualdeploy-leave"}) {
    const std::string table = instance.do_inside("systemd-analyze security --no-pager " + unit + ".service");
    std::printf("%s\n", table.c_str());
    const std::string before = "Overall exposure level for " + unit + ".service: ";
    const std::size_t at = table.find(before);
    ASSERT_NE(at, std::string::npos) << table;
    EXPECT_LE(std::strtod(table.c_str() + at + before.size(), nullptr), most) << unit;
  }
}

/// What the kernel says of the agent that runs, not what a file says.
TEST(Security, TheAgentIsConfinedAndItsHelperIsNot) {
  const Instance instance("secproc");
  if (!confined(instance)) GTEST_SKIP() << "no drop-ins on systemd 219";
  const auto status = [&](const std::string& unit) {
    return instance.do_inside("cat /proc/$(systemctl show -p MainPID --value " + unit + ")/status");
  };
  const std::string agent = status("dualdeployd");
  // CAP_NET_BIND_SERVICE (10), CAP_NET_ADMIN (12), CAP_NET_RAW (13).
  EXPECT_THAT(agent, AllOf(HasSubstr("CapBnd:\t0000000000003400"), HasSubstr("CapEff:\t0000000000003400"),
                           HasSubstr("NoNewPrivs:\t1"), HasSubstr("Seccomp:\t2")));
  const auto sees = [&](const std::string& command) {
    return instance
               .inside("nsenter -m -t $(systemctl show -p MainPID --value dualdeployd) sh -c " +
                       quoted(command))
               .status == 0;
  };
  EXPECT_TRUE(
      sees("echo >/run/dualdeploy/x && rm /run/dualdeploy/x && echo >/var/lib/dualdeploy/x && rm "
           "/var/lib/dualdeploy/x"));
  for (const std::string path :
       {"/etc", "/usr", "/var/lib", "/run", "/run/systemd", "/run/lock"}) {
    EXPECT_FALSE(sees("echo >" + path + "/x")) << path;
  }
  EXPECT_FALSE(sees("echo 0 >/proc/sys/net/ipv4/ip_forward"));
  EXPECT_FALSE(sees("ls /root/sample.rpm"));
  instance.do_inside("systemctl start dualdeploy-helper");
  EXPECT_THAT(status("dualdeploy-helper"), HasSubstr("NoNewPrivs:\t1"));
}

// ---- Everything works under it ----------------------------------------------------------------------------

/// What no other test does in an installed agent: a check that switches its user, and its group; a listener
/// on a low port; a state directory of one's own; who holds a port of another user's; the package's revision;
/// the journal.
TEST(Security, WhatTheAgentDoesItCanDo) {
  const Instance instance("secworks", Instance::Agent::installed);
  instance.do_inside("useradd checker && mkdir -p /srv/state");
  instance.write(
      "/usr/local/bin/check",
      "#!/bin/sh\nid >/tmp/checked; exec curl -sf -m 1 http://127.0.0.1:$DUALDEPLOY_PORT/healthz\n");
  instance.write("/usr/local/bin/hook", "#!/bin/sh\nid -u >/run/hooked-$DUALDEPLOY_HOOK\n");
  instance.do_inside(
      "chmod +x /usr/local/bin/check /usr/local/bin/hook; sed -i '0,/http: {path: .healthz}/s||exec: "
      "{command: [/usr/local/bin/check], user: checker}|' " +
      service_file);
  append(instance, service_file, "hooks: {before: [/usr/local/bin/hook], after: [/usr/local/bin/hook]}\n");
  instance.write_agent_config("state_directory: /srv/state\nhealth: {listen: '0.0.0.0:180'}\n");
  drop_in(instance, "dualdeployd", "[Service]\nReadWritePaths=/srv/state\n");
  instance.do_inside("systemctl start dualdeployd");
  instance.until_healthy();
  instance.flip("container");
  EXPECT_EQ(instance.answered_by(), "container");
  // The check followed no redirect: it is in the probe group, and asked the RPM all the while.
  EXPECT_EQ(instance.health("rpm"), "healthy");
  const std::string probe = without_end(instance.do_inside("getent group dualdeploy-probe | cut -d: -f3"));
  EXPECT_THAT(instance.do_inside("cat /tmp/systemd-private-*-dualdeploy*.service-*/tmp/checked"),
              AllOf(HasSubstr("(checker)"), HasSubstr("gid=" + probe)));
  instance.until(
      "told", [&] { return instance.inside("cat /run/hooked-before /run/hooked-after").output == "0\n0\n"; });
  EXPECT_EQ(
      instance.client("curl -s -o /dev/null -w '%{http_code}' http://192.0.2.1:180/healthz/sample").output,
      "200");
  EXPECT_THAT(instance.do_inside("cat /srv/state/history.jsonl"), HasSubstr("\"flip\""));
  EXPECT_THAT(instance.do_inside("dualctl status sample"), HasSubstr("  revision "));
  EXPECT_THAT(instance.do_inside("journalctl DUALDEPLOY_SERVICE=sample -o cat"), HasSubstr("sample flip: "));
}

/// Each capability that the units leave, taken away: what fails then.
TEST(Security, WhatEachCapabilityIsFor) {
  const Instance instance("seccaps", Instance::Agent::installed);
  if (!confined(instance)) GTEST_SKIP() << "no drop-ins on systemd 219";
  instance.write_agent_config("health: {listen: '0.0.0.0:180'}\n");
  instance.write("/usr/local/bin/check", "#!/bin/sh\nexit 0\n");
  instance.do_inside(
      "useradd checker; chmod +x /usr/local/bin/check; sed -i '0,/http: {path: .healthz}/s||exec: {command: "
      "[/usr/local/bin/check], user: checker}|' " +
      service_file);
  const auto start_with = [&](const std::string& lines) {
    drop_in(instance, "dualdeployd", "[Unit]\nStartLimitIntervalSec=0\n[Service]\n" + lines);
    instance.do_inside(
        "journalctl --rotate -q; journalctl --vacuum-time=1s -q >/dev/null 2>&1; systemctl restart "
        "dualdeployd || true");
  };
  const auto says = [&](const std::string& text) {
    instance.until(text, [&] {
      return instance
                 .inside("journalctl -u dualdeployd -o cat --no-pager; dualctl status; dualctl status sample")
                 .output.find(text) != std::string::npos;
    });
  };
  struct Case {
    std::string capability;
    std::string without;  ///< A drop-in.
    std::string fails;    ///< In the journal or the status.
  };
  std::vector<Case> cases{{"CAP_NET_ADMIN", "CapabilityBoundingSet=~CAP_NET_ADMIN\n",
                           "connections cannot be redirected by " + kernel().backend},
                          {"CAP_NET_BIND_SERVICE", "CapabilityBoundingSet=~CAP_NET_BIND_SERVICE\n",
                           "cannot listen on 0.0.0.0:180: Permission denied"},
                          // The agent by itself cannot do what it has the helper for.
                          {"(helper) CAP_SETUID, CAP_SETGID", "Environment=DUALDEPLOY_HELPER=\n",
                           "cannot run /usr/local/bin/check: Operation not permitted"}};
  if (kernel().backend == "iptables") {
    cases.push_back({"CAP_NET_RAW", "CapabilityBoundingSet=~CAP_NET_RAW\n",
                     "connections cannot be redirected by iptables"});
  }
  std::printf("without                          | what the agent says\n");
  for (const Case& each : cases) {
    start_with(each.without);
    says(each.fails);
    std::printf("%-32s | %s\n", each.capability.c_str(), each.fails.c_str());
  }
  start_with("");
  instance.until_healthy();
  instance.flip("container");
  EXPECT_EQ(instance.answered_by(), "container");
}

// ---- Attacks ----------------------------------------------------------------------------------------------

class Attacks : public ::testing::Test {
 protected:
  explicit Attacks(const std::string& name) : instance(name) {
    instance.do_inside("useradd stranger; useradd -G dualdeploy-view viewer; useradd -G dualdeploy olga");
  }
  ~Attacks() override {
    std::printf("| attack | by | outcome |\n| --- | --- | --- |\n");
    for (const std::string& row : rows) std::printf("%s\n", row.c_str());
  }
  [[nodiscard]] Outcome as(const std::string& user, const std::string& command) const {
    return instance.inside("runuser -u " + user + " -- sh -c " + quoted(command));
  }
  void tried(const std::string& attack, const std::string& who, const std::string& outcome) {
    rows.push_back("| " + attack + " | " + who + " | " + outcome + " |");
  }
  /// The agent answers, its rules are whole, and nobody has moved the traffic.
  void unharmed(const std::string& attack) const {
    EXPECT_EQ(instance.inside("dualctl status >/dev/null").status, 0) << attack;
    EXPECT_EQ(instance.route(), "rpm") << attack;
    EXPECT_EQ(instance.answered_by(), "rpm") << attack;
  }
  /// Every request, with root's permission, and the HTTP status.
  [[nodiscard]] std::string http_status(const std::string& curl_arguments) const {
    return instance
        .inside(
            "curl -s -o /dev/null -w '%{http_code}' --path-as-is --unix-socket "
            "/run/dualdeploy/control.sock " +
            curl_arguments)
        .output;
  }

  Instance instance;
  std::vector<std::string> rows;
};

struct AttacksOnFiles : Attacks {
  AttacksOnFiles() : Attacks("secfiles") {}
};
struct AttacksOnTheSocket : Attacks {
  AttacksOnTheSocket() : Attacks("secsocket") {}
};
struct AttacksByText : Attacks {
  AttacksByText() : Attacks("sectext") {}
};
struct AttacksFromContainers : Attacks {
  AttacksFromContainers() : Attacks("seccontainer") {}
};

TEST_F(AttacksOnFiles, SocketAndState) {
  for (const std::string user : {"stranger", "viewer", "olga"}) {
    for (const std::string command :
         {"rm -f /run/dualdeploy/control.sock", "mv /run/dualdeploy/control.sock /tmp/x",
          "ln -sfn /tmp/fake /run/dualdeploy/control.sock", "touch /run/dualdeploy/leaving",
          "ln -s /etc/shadow /run/dualdeploy/leaving", "mv /run/dualdeploy /run/d"}) {
      EXPECT_NE(as(user, command).status, 0) << user << ": " << command;
    }
    for (const std::string command :
         {"ls /var/lib/dualdeploy", "cat /var/lib/dualdeploy/history.jsonl", "touch /var/lib/dualdeploy/x",
          "ln -s /etc/shadow /var/lib/dualdeploy/services/sample.json.new",
          "cat /var/lib/dualdeploy/services/sample.json"}) {
      EXPECT_THAT(as(user, command).output, HasSubstr("Permission denied")) << user << ": " << command;
    }
    if (confined(instance)) {
      EXPECT_THAT(as(user, "echo '{}' | socat - UNIX:/run/dualdeploy/helper.sock").output,
                  HasSubstr("Permission denied"))
          << user;
    }
  }
  unharmed("files");
  tried("remove, rename or replace the control socket; plant files or symlinks in /run/dualdeploy",
        "any user, both groups", "permission denied");
  tried("read the history or the state, plant files or symlinks in /var/lib/dualdeploy",
        "any user, both groups", "permission denied (0750, root)");
  tried("run a program through the helper's socket", "any user, both groups",
        "permission denied (0600, root; peer checked)");
  // Nothing that is installed, or made at run time, can be written by others than root.
  EXPECT_EQ(instance.do_inside(
                "find /usr/sbin/dualdeployd /usr/bin/dualctl /usr/libexec/dualdeploy* /usr/lib/systemd/system/dualdeploy* "
                "/etc/dualdeploy /var/lib/dualdeploy "
                "/run/dualdeploy ! -type s ! -type l \\( -perm /022 -o ! -user root -o -perm /6000 \\)"),
            "");
  tried("write a program, unit, configuration or state file; run one with set-uid", "any user, both groups",
        "none is writable, none has the bit");
}

TEST_F(AttacksOnFiles, SymlinksWhereTheAgentWrites) {
  instance.do_inside("echo precious >/root/target");
  const std::string before = instance.do_inside("cat /etc/shadow /root/target");
  // As if somebody could write there; nobody but root can.
  instance.do_inside("ln -s /root/target /var/lib/dualdeploy/services/sample.json.new");
  const Outcome flip = instance.inside("dualctl flip sample container --wait");
  EXPECT_EQ(flip.status, 1);
  EXPECT_THAT(flip.output, HasSubstr("symbolic link"));
  EXPECT_EQ(instance.answered_by(), "rpm");
  instance.do_inside(
      "rm -f /var/lib/dualdeploy/services/sample.json.new; mv /var/lib/dualdeploy/history.jsonl /root/h; ln "
      "-s /root/target /var/lib/dualdeploy/history.jsonl");
  instance.flip("container");
  instance.flip("rpm");
  EXPECT_EQ(instance.do_inside("cat /etc/shadow /root/target"), before);
  tried("symlink as the state's temporary file", "who can write /var/lib/dualdeploy (root)",
        "not followed; the flip fails, nothing has changed");
  tried("symlink as the history", "who can write /var/lib/dualdeploy (root)",
        "not followed; changes go on, history in memory and journal");
}

TEST_F(AttacksOnFiles, ConfigurationThatOthersMayWrite) {
  const auto reload_refused = [&](const std::string& make, const std::string& unmake,
                                  const std::string& why) {
    instance.do_inside(make);
    instance.do_inside("systemctl reload dualdeployd");
    EXPECT_THAT(instance.inside("dualctl check-config").output, HasSubstr(why)) << make;
    EXPECT_EQ(instance.inside("dualctl check-config").status, 1) << make;
    instance.until("refused: " + why, [&] {
      return instance.inside("dualctl history --all").output.find(why) != std::string::npos;
    });
    unharmed(make);
    instance.do_inside(unmake);
  };
  reload_refused("chmod o+w " + service_file, "chmod o-w " + service_file, "sample.yaml: anybody may write it");
  reload_refused("chown stranger " + service_file, "chown root " + service_file,
                 "sample.yaml: belongs to user");
  reload_refused("chgrp olga " + service_file + "; chmod g+w " + service_file, "chgrp root " + service_file,
                 "sample.yaml: group");
  reload_refused("chown stranger /etc/dualdeploy/services.d", "chown root /etc/dualdeploy/services.d",
                 "services.d: belongs to user");
  reload_refused("install -o stranger /dev/null /etc/dualdeploy/services.d/evil.yaml",
                 "rm /etc/dualdeploy/services.d/evil.yaml", "evil.yaml: belongs to user");
  EXPECT_EQ(instance.inside("dualctl check-config").status, 0);
  tried("a configuration file or directory writable by, or owned by, others", "a careless administrator",
        "refused, the old configuration stays; check-config says the chmod");
}

TEST_F(AttacksOnTheSocket, PermissionsAndIdentity) {
  for (const std::string user : {"stranger", "viewer"}) {
    for (const std::string change : {"flip sample container", "revert sample", "hold sample --reason x",
                                     "release sample", "confirm sample", "leave", "join"}) {
      EXPECT_EQ(as(user, "dualctl " + change).status, 4) << user << " " << change;
    }
  }
  EXPECT_EQ(as("stranger", "dualctl status").status, 4);
  EXPECT_EQ(as("stranger", "dualctl history").status, 4);
  EXPECT_EQ(as("stranger", "dualctl events").status, 4);
  unharmed("permission");
  tried("change anything over the socket", "any user; dualdeploy-view", "403, exit status 4");
  tried("look at status, history or events", "any user", "403, exit status 4");
  const Outcome fake_root = as("stranger", "unshare --user --map-root-user dualctl flip sample container");
  EXPECT_THAT(fake_root.output, AnyOf(HasSubstr("user stranger"), HasSubstr("unshare")));
  EXPECT_NE(fake_root.status, 0);
  tried("be uid 0 in a user namespace of one's own", "any user", "the kernel tells the real uid: 403");
  EXPECT_NE(as("viewer", "sg dualdeploy -c 'dualctl flip sample container' </dev/null").status, 0);
  tried("take the group dualdeploy with sg(1)", "dualdeploy-view", "not a member: refused");
  // Who a connection belongs to is decided when it is made, not by what has its pid later.
  EXPECT_THAT(as("viewer",
                 "(printf 'POST /v1/services/sample/flip HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: "
                 "18\\r\\nConnection: close\\r\\n\\r\\n'; sleep 1; "
                 "printf '{\"to\":\"container\"}') | socat -t 3 - UNIX:/run/dualdeploy/control.sock")
                  .output,
              HasSubstr("403"));
  unharmed("identity");
}

TEST_F(AttacksOnTheSocket, SmugglingAndOversize) {
  const auto raw = [&](const std::string& request) {
    return as("viewer",
              "printf " + quoted(request) + " | timeout 10 socat -t 3 - UNIX:/run/dualdeploy/control.sock")
        .output;
  };
  const std::string inner =
      "POST /v1/services/sample/flip HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: "
      "18\\r\\n\\r\\n{\"to\":\"container\"}";
  const std::vector<std::string> requests{
      "GET /v1/status HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 5\\r\\nTransfer-Encoding: "
      "chunked\\r\\n\\r\\n0\\r\\n\\r\\n" +
          inner,
      "GET /v1/status HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 0\\r\\nContent-Length: 90\\r\\n\\r\\n" +
          inner,
      "GET /v1/status HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" + inner,
      "GET /v1/status HTTP/1.1\\r\\nHost: x\\r\\nX-Forwarded-User: root\\r\\nAuthorization: Basic "
      "cm9vdDo=\\r\\n\\r\\n" +
          inner,
      "GET /v1/status\\tHTTP/1.1\\nHost: x\\n\\n" + inner,
      "POST /v1/services/sample/flip HTTP/1.1\\r\\nHost: x\\r\\nX-HTTP-Method-Override: "
      "GET\\r\\nContent-Length: 18\\r\\n\\r\\n{\"to\":\"container\"}"};
  for (const std::string& request : requests)
    EXPECT_THAT(raw(request), AnyOf(HasSubstr("403"), HasSubstr("400"))) << request;
  unharmed("smuggling");
  tried("smuggle a second request (two lengths, chunked and length, pipelining, bare line feeds, X- headers)",
        "dualdeploy-view", "400, or 403: permission is of the connection, not of a header");
  const std::string body = "'{\"to\":\"container\",\"reason\":\"'$(head -c 600 /dev/zero | tr '\\0' r)'\"}'";
  EXPECT_EQ(http_status("-d " + body + " http://x/v1/services/sample/flip"), "400");
  EXPECT_EQ(http_status("-d \"$(head -c 50000 /dev/zero | tr '\\0' '[')\" http://x/v1/services/sample/flip"),
            "400");
  EXPECT_EQ(http_status("-H \"X: $(head -c 20000 /dev/zero | tr '\\0' h)\" http://x/v1/status"), "431");
  unharmed("oversize");
  tried("headers, bodies, reasons and JSON nesting without end", "any who may connect",
        "431, 413, 400; nothing kept");
}

/// As many users as it takes, each with as many connections as he may have.
TEST_F(AttacksOnTheSocket, CrowdsKeepNobodyOut) {
  instance.do_inside("for i in $(seq 12); do useradd crowd$i; useradd -G dualdeploy-view view$i; done");
  // A connection's first request has 5 s to arrive: the crowd comes again and again.
  const auto held_off = [&](const std::string& names) {
    instance.do_inside("setsid sh -c 'for i in $(seq 12); do runuser -u " + names +
                       "$i -- sh -c \"while :; do for j in \\$(seq 16); do timeout 5 socat -u "
                       "UNIX:/run/dualdeploy/control.sock - & done; sleep 1; done\" & "
                       "done; wait' >/dev/null 2>&1 & echo $! >/run/crowd");
    instance.until("no room for one more of them", [&] {
      return as(names + "1",
                "curl -s -o /dev/null -w '%{http_code}' --unix-socket /run/dualdeploy/control.sock "
                "http://x/v1/status")
                 .output == "503";
    });
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(as("olga", "dualctl status >/dev/null").status, 0) << names;
      EXPECT_EQ(instance.inside("dualctl status >/dev/null").status, 0) << names;
    }
    EXPECT_EQ(as("olga", "dualctl hold sample --reason crowd && dualctl release sample").status, 0) << names;
    if (names == "crowd") {
      EXPECT_EQ(as("viewer", "dualctl status >/dev/null").status, 0);
    }
    instance.do_inside("kill -KILL -$(cat /run/crowd)");
  };
  held_off("crowd");
  held_off("view");
  tried("all connections taken, slowly, by twelve users", "any users",
        "all of them together have 16; viewers, members and root get in");
  tried("the same", "twelve members of dualdeploy-view", "members of dualdeploy and root get in");
}

TEST_F(AttacksOnTheSocket, TheListenerForLoadBalancers) {
  instance.write_agent_config("health: {listen: '0.0.0.0:9180'}\n");
  instance.do_inside("systemctl restart dualdeployd");
  instance.until_healthy();
  const std::string ask = "curl -s -m 5 -o /dev/null -w '%{http_code}' ";
  const std::string url = "http://192.0.2.1:9180/healthz/sample";
  EXPECT_EQ(instance.client(ask + url).output, "200");
  (void)instance.client(
      "for i in $(seq 300); do ((sleep 20 | socat - TCP:192.0.2.1:9180) >/dev/null 2>&1 &); done; sleep 1");
  EXPECT_EQ(instance.client(ask + url).output, "200");
  EXPECT_EQ(instance.client(ask + "-X POST " + url).output, "405");
  EXPECT_EQ(instance.client(ask + "--path-as-is http://192.0.2.1:9180/healthz/../../etc/passwd").output,
            "404");
  EXPECT_EQ(instance.client(ask + "'http://192.0.2.1:9180/healthz/sample%0a%0dX'").output, "404");
  EXPECT_THAT(instance.client(ask + "-H \"X: $(head -c 20000 /dev/zero | tr '\\0' h)\" " + url).output,
              AnyOf("000", "431", "400"));
  EXPECT_EQ(instance.client(ask + url).output, "200");
  EXPECT_EQ(instance.client(ask + "-X POST http://192.0.2.1:9180/v1/rescue").output, "405");
  unharmed("listener");
  tried("300 silent connections to the health listener", "anybody on the network",
        "the oldest make room; checks are answered");
  tried("POST, ../, line feeds, a 20 kB header, the control API there", "anybody on the network",
        "405, 404, closed; it knows health and no more");
}

TEST_F(AttacksByText, NamesInRequests) {
  const std::string files = instance.do_inside("find /var/lib/dualdeploy /run/dualdeploy | sort");
  const std::string long_name(7'000, 'a');
  for (const std::string& name :
       {std::string("../../../etc/passwd"), std::string("..%2f..%2fetc%2fpasswd"), std::string("%2e%2e"),
        std::string("sample%00"), std::string("sample%0areboot"), std::string("sample;reboot"),
        std::string("$(reboot)"), std::string("`reboot`"), std::string("sample%20--force"), std::string("-x"),
        long_name}) {
    const std::string status =
        http_status("-g -d '{\"to\":\"container\"}' " + quoted("http://x/v1/services/" + name + "/flip"));
    EXPECT_THAT(status, AnyOf("404", "400", "431")) << name.substr(0, 60);
    EXPECT_THAT(http_status("-g " + quoted("http://x/v1/history?service=" + name)),
                AnyOf("404", "400", "431"))
        << name.substr(0, 60);
  }
  EXPECT_EQ(instance.do_inside("find /var/lib/dualdeploy /run/dualdeploy | sort"), files);
  unharmed("names");
  tried("../, NUL, line feed, shell characters, 7 kB as a service's name", "root (the strongest)",
        "404 or 400; no file, no program");
}

TEST_F(AttacksByText, NamesInTheConfiguration) {
  const auto refused = [&](const std::string& key, const std::string& line) {
    instance.write("/root/try/services.d/x.yaml", "ports: [{front: 81, container: 8081}]\n" + line);
    const Outcome checked = instance.inside("dualctl check-config /root/try/agent.yaml");
    EXPECT_EQ(checked.status, 1) << line;
    EXPECT_THAT(checked.output, HasSubstr(key)) << line;
    EXPECT_THAT(checked.output, Not(HasSubstr("\033"))) << line;
  };
  instance.do_inside("mkdir -p /root/try/services.d; : >/root/try/agent.yaml");
  const std::string rest = "container: {image: 'x:1'}\n";
  for (const std::string bad : {"x;reboot.service", "../x.service", "-H root.service", "$(id).service",
                                "\\x0a.service\\n", "\\e[2J.service"}) {
    refused("rpm.unit", "rpm: {unit: \"" +
                            (bad.starts_with("\\x") ? std::string("a\\n.service") : std::string(bad)) +
                            "\"}\n" + rest);
  }
  const std::string rpm = "rpm: {unit: x.service}\n";
  for (const std::string bad : {"x;reboot", "../x", "--privileged", "x y", "$(id)", "a\\nb"})
    refused("container.image", rpm + "container: {image: \"" + bad + "\"}\n");
  for (const std::string bad : {"x;reboot", "--eval=%(id)", "../x.rpm", "http://evil/x.rpm"}) {
    refused("rpm.package", "rpm: {unit: x.service, package: \"" + bad + "\"}\n" + rest);
  }
  for (const std::string bad : {"healthz", "/x y", "/x\\r\\nHost: evil", "/\\0"}) {
    refused("check.http.path", "rpm: {unit: x.service, check: {http: {path: \"" + bad + "\"}}}\n" + rest);
  }
  refused("hooks.before", rpm + rest + "hooks: {before: [\"reboot; id\"]}\n");
  tried("shell characters, options, line feeds, ../ in unit, image, package and URL",
        "who writes the configuration (root)", "refused by form, before anything is run");
}

TEST_F(AttacksByText, ReasonsAndWhatProgramsSay) {
  for (const std::string reason : {"a\\nb", "a\\u001b[2J", "a\\u009b2J", "a\\u0000b", "a\\u202eb", "a\\rb"}) {
    EXPECT_EQ(http_status("-d '{\"to\":\"container\",\"reason\":\"" + reason +
                          "\"}' http://x/v1/services/sample/flip"),
              "400")
        << reason;
  }
  tried("line feed, escape sequence, NUL, C1 or direction marks in a reason", "dualdeploy, root", "400");
  // A hook that shouts at terminals, and keeps what it was told.
  instance.write("/usr/local/bin/before",
                 "#!/bin/sh\nenv -0 >/run/environment\nprintf 'no\\033]0;owned\\007\\302\\2332J\\n' >&2\n[ "
                 "-e /run/let ]\n");
  instance.do_inside("chmod +x /usr/local/bin/before");
  append(instance, service_file, "hooks: {before: [/usr/local/bin/before]}\n");
  instance.do_inside("systemctl reload dualdeployd");
  const std::string reason =
      "x' ; touch /run/pwned $(touch /run/pwned) `touch /run/pwned` %s ${IFS} DUALDEPLOY_USER=root \"";
  const Outcome refused = instance.inside("dualctl flip sample container --wait --reason " + quoted(reason));
  EXPECT_EQ(refused.status, 3);
  EXPECT_THAT(refused.output, AllOf(HasSubstr("no\\x1b]0;owned\\x07\\xc2\\x9b2J"), Not(HasSubstr("\033")),
                                    Not(HasSubstr("\302\233"))));
  const std::string environment =
      instance.do_inside("tr '\\0' '\\n' </run/environment | grep ^DUALDEPLOY_ | sort");
  EXPECT_THAT(environment,
              AllOf(HasSubstr("DUALDEPLOY_REASON=" + reason + "\n"), HasSubstr("DUALDEPLOY_USER=root\n")));
  EXPECT_EQ(instance.do_inside("tr '\\0' '\\n' </run/environment | grep -c ^DUALDEPLOY_USER="), "1\n");
  for (const std::string look : {"dualctl history", "dualctl events", "dualctl status sample",
                                 "journalctl -u dualdeployd -a -o cat --no-pager"}) {
    EXPECT_THAT(instance.do_inside(look), AllOf(Not(HasSubstr("\033")), Not(HasSubstr("\302\233")))) << look;
  }
  tried("escape sequences in what a hook prints", "a program of the service's",
        "shown as \\\\x1b in dualctl and journal");
  EXPECT_THAT(instance.do_inside("dualctl --json history -n 1"), HasSubstr("touch /run/pwned"));
  EXPECT_NE(instance.inside("ls /run/pwned").status, 0);
  tried("shell characters and VARIABLE=value in a reason", "dualdeploy, root",
        "kept to the letter, one variable of the hook's environment");
  instance.do_inside("touch /run/let");
  // A process of any user, with a name of his choice, on the container's port.
  instance.do_inside(
      "sed -i 's/\"--port\", \"8080\"/\"--port\", \"9090\"/' " + service_file +
      "; awk '/^container:/ {c=1} c && /http:/ {sub(/path: .healthz/, \"path: /healthz, port: 9090\")} 1' " +
      service_file + " >/root/s && cat /root/s >" + service_file +
      "; systemctl reload dualdeployd; cp /usr/bin/socat \"$(printf '/tmp/\\033[2Jnice')\"; chmod 755 "
      "/tmp/*nice");
  instance.until("the container is on its other port", [&] {
    return instance.inside(
                       "curl -sf -m 1 http://127.0.0.1:9090/healthz && ! ss -Hltn sport = :8080 | grep -q .")
                   .status == 0 &&
           instance.health("container") == "healthy";
  });
  instance.do_inside(
      "setsid runuser -u stranger -- /tmp/*nice TCP-LISTEN:8080,fork,reuseaddr - >/dev/null 2>&1 </dev/null "
      "& until ss -Hltn sport = :8080 | grep -q .; do sleep 0.05; done");
  const Outcome squatter = instance.inside("dualctl flip sample container");
  EXPECT_EQ(squatter.status, 3);
  EXPECT_THAT(squatter.output,
              AllOf(HasSubstr("\\x1b[2Jnice ("), HasSubstr("not of the container"), Not(HasSubstr("\033"))));
  unharmed("squatter");
  tried("listen on the container's port, with an escape sequence for a name", "any user",
        "flip refused; the name is shown as \\\\x1b");
}

TEST_F(AttacksFromContainers, WhatIsWithinReach) {
  instance.build_image("/usr/bin/socat", "socat");
  instance.write("/root/Dockerfile.box",
                 "FROM scratch\nCOPY busybox /bin/busybox\nENTRYPOINT [\"/bin/busybox\"]\n");
  instance.do_inside(
      "cp /bin/busybox /root/ && docker build -q -t box -f /root/Dockerfile.box /root >/dev/null");
  const auto box = [&](const std::string& options, const std::string& command) {
    return instance.inside("docker run --rm --net host " + options + " box " + command);
  };
  EXPECT_NE(box("", "ls /run/dualdeploy").status, 0);
  EXPECT_THAT(box("", "cat /proc/net/unix").output, Not(HasSubstr("@dualdeploy")));
  EXPECT_THAT(instance.inside("docker run --rm --net host socat - UNIX:/run/dualdeploy/control.sock").output,
              HasSubstr("No such file"));
  tried("reach the control socket", "root in a container with --net=host",
        "it is a file, and not in the container; there is no abstract socket");
  const std::string mounted = "docker run --rm -i --net host -v /run/dualdeploy:/run/dualdeploy ";
  const std::string request =
      "printf 'POST /v1/services/sample/flip HTTP/1.1\\r\\nHost: x\\r\\nConnection: "
      "close\\r\\nContent-Length: 18\\r\\n\\r\\n{\"to\":\"container\"}' | ";
  EXPECT_THAT(
      instance.inside(request + mounted + "--user 12345 socat -t 3 - UNIX:/run/dualdeploy/control.sock")
          .output,
      HasSubstr("403"));
  unharmed("container");
  tried("the same, the directory being mounted", "another user in the container",
        "403: the kernel tells the uid");
  // A packet mark exempts a connection of one's own from the redirect, and that is all.
  instance.flip("container");
  EXPECT_THAT(as("stranger", "echo | socat - TCP:192.0.2.1:80,setsockopt-listen=1:36:i221").output,
              HasSubstr("Operation not permitted"));
  const std::string get = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | docker run --rm -i --net host ";
  const std::string to_front = "socat -t 2 - TCP:192.0.2.1:80,setsockopt-listen=1:36:i221";
  EXPECT_THAT(instance.inside(get + "--cap-drop ALL " + to_front).output,
              HasSubstr("Operation not permitted"));
  EXPECT_THAT(instance.inside(get + to_front).output,
              AnyOf(HasSubstr("X-Side: rpm"), HasSubstr("Operation not permitted")));
  EXPECT_EQ(instance.answered_by(), "container");
  tried("set the checks' packet mark", "any user; a container without capabilities", "not permitted");
  tried("the same", "root in a container with Docker's CAP_NET_RAW",
        "its own connections reach the RPM; nobody else's do");
  // What a container sends from its port cannot carry the mark to another machine, and guards are not opened
  // by it.
  instance.flip("rpm");
  EXPECT_NE(instance.client("curl -s -m 2 http://192.0.2.1:8080/").status, 0);
  tried("reach the container's port directly", "another machine", "dark");
}

// ---- No shell ---------------------------------------------------------------------------------------------

/// Every program that agent and helper start, seen by the kernel, while hostile text goes through all that
/// they do.
TEST(Security, NoShellSeesConfigurationOrRequests) {
  const Instance instance("secexec", Instance::Agent::installed);
  instance.push_program("/usr/bin/strace");
  const std::string evil = "$(touch /run/pwned);`touch /run/pwned`|touch /run/pwned&'\\\"";
  instance.do_inside("sed -i '0,/path: .healthz/s||path: \"/healthz?$(touch${IFS}/run/pwned)\"|' " +
                     service_file);
  append(instance, service_file,
         "hooks: {before: [/bin/true, '" + std::string("$(touch /run/pwned)") +
             "'], after: [/bin/true, '; touch /run/pwned']}\n");
  instance.do_inside(
      "sed -i 's/^container:$/container:\\n  env: {EVIL: \"$(touch \\/run\\/pwned)\"}\\n  labels: {evil: "
      "\"`touch \\/run\\/pwned`\"}/' " +
      service_file);
  drop_in(instance, "dualdeployd", "[Service]\nTimeoutStartSec=300\n");
  instance.do_inside(
      "systemctl start dualdeployd; systemctl start dualdeploy-helper 2>/dev/null; "
      "p=$(systemctl show -p MainPID --value dualdeployd); h=$(systemctl show -p MainPID --value "
      "dualdeploy-helper); "
      "[ \"${h:-0}\" = 0 ] || p=\"$p -p $h\"; setsid strace -f -qq -e trace=execve -s 4096 -o /run/trace -p "
      "$p >/run/strace 2>&1 & sleep 1; ! grep . /run/strace");
  instance.until_healthy();
  for (const std::string side : {"container", "rpm"})
    instance.do_inside("dualctl flip sample " + side + " --wait --reason " + quoted(evil));
  instance.do_inside("dualctl flip sample container --percent 30 --sticky --wait --reason " + quoted(evil));
  instance.do_inside("dualctl hold sample --reason " + quoted(evil) +
                     "; dualctl release sample; dualctl revert sample --reason " + quoted(evil));
  (void)instance.inside(
      "dualctl flip " + quoted(evil) +
      " container; curl -s -g --unix-socket /run/dualdeploy/control.sock -d '{\"to\":\"container\"}' " +
      quoted("http://x/v1/services/$(touch${IFS}/run/pwned)/flip"));
  instance.do_inside("systemctl reload dualdeployd; dualctl status >/dev/null");
  instance.until("the after-hook has run", [&] {
    constexpr int changes = 4;
    return std::atoi(instance.inside("grep -c '; touch /run/pwned\"' /run/trace").output.c_str()) >= changes;
  });
  const std::string trace = instance.do_inside("cat /run/trace");
  const std::string programs = instance.do_inside("grep -o 'execve(\"[^\"]*\"' /run/trace | sort | uniq -c");
  std::printf("%s", programs.c_str());
  EXPECT_THAT(
      trace,
      HasSubstr(
          "\"/bin/true\", \"$(touch /run/pwned)\""));  // It sees what is started, and arguments are whole.
  EXPECT_THAT(trace, HasSubstr(kernel().backend == "iptables" ? "iptables-" : "/nft\""));
  // One there is, of a constant text: Debian's rpm asks it where root's home is.
  EXPECT_EQ(instance.inside("grep -E 'execve\\(\"[^\"]*/(ba|da|k|z|)sh\"' /run/trace | grep -vF 'echo ~/.rpmdb'").output, "");
  EXPECT_NE(instance.inside("ls /run/pwned").status, 0);
}

}  // namespace
}  // namespace dualdeploy::testing
