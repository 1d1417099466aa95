// What refuses a flip, what takes it back, and what happens around it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "instance/support/instance.hpp"
#include "instance/support/kernel.hpp"
#include "instance/support/load.hpp"

namespace dualdeploy::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// The sample's configuration with something changed or added.
void configure(const Instance& instance, const std::string& sed, const std::string& more = "") {
  instance.do_inside("sed -i '" + sed + "' /etc/dualdeploy/services.d/sample.yaml");
  if (!more.empty()) instance.do_inside("printf %s " + quoted(more) + " >> /etc/dualdeploy/services.d/sample.yaml");
  instance.do_inside("systemctl reload dualdeployd");
}

std::string revision(const Instance& instance) {
  std::string text = instance.do_inside("rpm -q --qf '%{VCS}' dualdeploy-sample");
  return text;
}

TEST(Guards, AWrongImageUnderTheRightTag) {
  const Instance instance("parityimage");
  const std::string right = revision(instance);
  instance.do_inside("docker build -q -t dualdeploy-sample --build-arg REVISION=0ther /usr/share/dualdeploy-sample");
  // The idle container is replaced by one of the new image; a flip meanwhile meets one or the other.
  instance.until("the new image runs", [&] { return instance.inside("dualctl status sample").output.find("0ther") != std::string::npos; });
  instance.until_healthy();
  const Outcome refused = instance.inside("dualctl flip sample container");
  EXPECT_EQ(refused.status, 3);
  EXPECT_THAT(refused.output, AllOf(HasSubstr("is revision " + right), HasSubstr("is revision 0ther"), HasSubstr("sha256:")));
  EXPECT_EQ(instance.answered_by(), "rpm");
  instance.do_inside("dualctl flip sample container --force --reason 'I know'");
  EXPECT_EQ(instance.answered_by(), "container");
  EXPECT_THAT(instance.history(), AllOf(HasSubstr("forced, although"), HasSubstr("[I know]")));
}

TEST(Guards, ARebuiltRpm) {
  const Instance instance("parityrpm");
  const std::string right = revision(instance);
  // Another build of the package, in the RPM database; its files do not matter here.
  const std::string spec =
      "Name: dualdeploy-sample\nVersion: 0.2.0\nRelease: 1\nSummary: x\nLicense: x\nVCS: rebui1t\nBuildArch: x86_64\n%description\n%files\n";
  const Outcome built = shell("d=$(mktemp -d) && printf %s " + quoted(spec) + " > $d/s.spec && rpmbuild -bb --quiet --define \"_topdir $d\" "
                              "--target x86_64 $d/s.spec >/dev/null 2>&1; echo $d/RPMS/x86_64/dualdeploy-sample-0.2.0-1.x86_64.rpm");
  const std::string path = built.output.substr(0, built.output.find('\n'));
  instance.push(path, "/root/rebuilt.rpm");
  (void)shell("rm -rf $(dirname $(dirname $(dirname " + path + ")))");
  instance.do_inside("rpm -U --nodeps --justdb --noscripts /root/rebuilt.rpm");
  const Outcome refused = instance.inside("dualctl flip sample container");
  EXPECT_EQ(refused.status, 3);
  EXPECT_THAT(refused.output, AllOf(HasSubstr("the RPM (dualdeploy-sample-0.2.0-1) is revision rebui1t"),
                                    HasSubstr("is revision " + right)));
  EXPECT_EQ(instance.answered_by(), "rpm");
}

TEST(Guards, AMissingLabel) {
  const Instance instance("paritylabel");
  const std::string right = revision(instance);
  instance.do_inside("sed '/^LABEL/,/REVISION\"$/d' /usr/share/dualdeploy-sample/Dockerfile > /root/Dockerfile &&"
                     "docker build -q -t dualdeploy-sample -f /root/Dockerfile /usr/share/dualdeploy-sample");
  instance.until("the new image runs", [&] {
    return instance.inside("dualctl status sample | grep -c '  revision '").output == "1\n" && instance.health("container") == "healthy";
  });
  const Outcome refused = instance.inside("dualctl flip sample container --wait");
  EXPECT_EQ(refused.status, 3);
  EXPECT_THAT(refused.output, AllOf(HasSubstr("is revision " + right), HasSubstr("has no label")));
  // The operator may ask for something else than the package's tag, or for nothing.
  configure(instance, "s/x^//", "parity: false\n");
  instance.do_inside("dualctl flip sample container --wait");
  EXPECT_EQ(instance.answered_by(), "container");
}

TEST(Guards, AnImpostorOnTheContainersPort) {
  const Instance instance("impostor");
  // The container is healthy on another port; on its front door somebody else answers.
  configure(instance, "s/\"--port\", \"8080\"/\"--port\", \"9090\"/; s/http: {path: \\/healthz}$/http: {path: \\/healthz, port: 9090}/");
  configure(instance, "0,/port: 9090}/s/, port: 9090}/}/");  // Only the container's check.
  instance.do_inside("setsid socat TCP-LISTEN:8080,fork,reuseaddr SYSTEM:'echo HTTP/1.0 200 OK; echo; echo impostor' >/dev/null 2>&1 &");
  instance.until("the container is healthy on its other port", [&] {
    return instance.inside("curl -s -m 1 http://127.0.0.1:9090/healthz").status == 0 && instance.health("container") == "healthy";
  });
  Load load(instance, Load::Kind::connection_per_request, 3);
  const Outcome refused = instance.inside("dualctl flip sample container");
  EXPECT_EQ(refused.status, 3);
  EXPECT_THAT(refused.output, AllOf(HasSubstr("port 8080 is listened on by socat ("), HasSubstr("which is not of the container")));
  EXPECT_EQ(load.finish().errors, "");
  EXPECT_EQ(instance.route(), "rpm");
  EXPECT_EQ(instance.answered_by(), "rpm");
  EXPECT_THAT(instance.history(), HasSubstr("refused by root port 8080 is listened on by socat"));
}

TEST(Guards, AFlipThatTakesConnectionsElsewhereGoesBack) {
  const Instance instance("proofback");
  // Somebody's rule comes before ours and sends connections to a program of theirs.
  instance.do_inside("setsid socat TCP-LISTEN:9090,fork,reuseaddr SYSTEM:'echo elsewhere' >/dev/null 2>&1 &" + kernel().diversion);
  instance.until("somebody else listens", [&] { return instance.inside("ss -ltn | grep -q :9090").status == 0; });
  const Outcome failed = instance.inside("dualctl flip sample container --reason 'in good faith'");
  EXPECT_EQ(failed.status, 1);
  EXPECT_THAT(failed.output, AllOf(HasSubstr("did not prove right: a connection to 127.0.0.1:80 reached somebody else"),
                                   HasSubstr("the route went back")));
  EXPECT_EQ(instance.route(), "rpm");
  EXPECT_EQ(instance.answered_by(), "rpm");
  EXPECT_THAT(instance.history(), AllOf(HasSubstr("failed"), HasSubstr("the route went back [in good faith]")));
  EXPECT_THAT(instance.do_inside(kernel().list), ::testing::Not(HasSubstr(kernel().of_sample)));
}

TEST(Guards, AContainerThatLeavesOutIPv6) {
  const Instance instance("proofv6");
  configure(instance, "s/\"--port\", \"8080\"/\"--port\", \"9090\"/; s/interval: 500ms$/interval: 300ms/");
  instance.do_inside("dualctl flip sample rpm >/dev/null");
  // What the RPM serves on both families is there on IPv4 only, and it is the container's own process that serves it.
  configure(instance, "s/^container:$/container:\\n  entrypoint: [\\/bin\\/socat]/; s/command: .*/command: [\"TCP4-LISTEN:8080,fork,reuseaddr\", \"TCP4:127.0.0.1:80\"]/");
  configure(instance, "s/  read_only: true/  read_only: false\\n  binds: [\\/usr:\\/usr:ro, \\/lib:\\/lib:ro, \\/lib64:\\/lib64:ro, \\/bin:\\/bin:ro]/");
  instance.until("the relay is healthy", [&] {
    return instance.inside("curl -s -m 1 http://127.0.0.1:8080/healthz").status == 0 && instance.health("container") == "healthy";
  });
  const Outcome refused = instance.inside("dualctl flip sample container");
  EXPECT_EQ(refused.status, 3);
  EXPECT_THAT(refused.output, HasSubstr("the RPM listens on [::]:80 and nothing on [::]:8080"));
  EXPECT_EQ(instance.answered_by("[2001:db8::1]"), "rpm");
}

TEST(Guards, HooksAreAskedAndTold) {
  const Instance instance("hooks");
  instance.write("/usr/local/bin/before",
                 "#!/bin/sh\nenv | grep ^DUALDEPLOY_ | sort >> /run/asked\n[ ! -e /run/freeze ] || { echo 'change freeze' >&2; exit 7; }\n");
  instance.write("/usr/local/bin/after", "#!/bin/sh\necho \"$DUALDEPLOY_CHANGE $DUALDEPLOY_FROM $DUALDEPLOY_TO $DUALDEPLOY_REASON\" >> /run/told\n");
  instance.do_inside("chmod +x /usr/local/bin/before /usr/local/bin/after");
  configure(instance, "s/x^//", "hooks: {before: [/usr/local/bin/before], after: [/usr/local/bin/after], timeout: 2s}\n");
  instance.do_inside("dualctl flip sample container --wait --reason 'release 7'");
  EXPECT_THAT(instance.do_inside("cat /run/asked"),
              AllOf(HasSubstr("DUALDEPLOY_FROM=rpm\n"), HasSubstr("DUALDEPLOY_TO=container\n"), HasSubstr("DUALDEPLOY_USER=root\n"),
                    HasSubstr("DUALDEPLOY_REASON=release 7\n"), HasSubstr("DUALDEPLOY_SERVICE=sample\n"), HasSubstr("DUALDEPLOY_HOOK=before\n")));
  instance.until("told", [&] { return instance.inside("cat /run/told").output == "flip rpm container release 7\n"; });
  instance.do_inside("touch /run/freeze");
  const Outcome refused = instance.inside("dualctl flip sample container --percent 50");
  EXPECT_EQ(refused.status, 3);
  EXPECT_THAT(refused.output, HasSubstr("the before-hook said no: /usr/local/bin/before ended with status 7: change freeze"));
  EXPECT_EQ(instance.route(), "container");
  instance.do_inside("dualctl revert sample");  // Nobody is asked.
  EXPECT_EQ(instance.answered_by(), "rpm");
  // A hook that hangs is ended at its deadline.
  instance.write("/usr/local/bin/before", "#!/bin/sh\nexec sleep 60\n");
  const Outcome late = instance.inside("dualctl flip sample container");
  EXPECT_EQ(late.status, 3);
  EXPECT_THAT(late.output, HasSubstr("before"));
  EXPECT_EQ(instance.inside("pidof sleep").output, "");
}

TEST(Guards, DryRunPrintsWhatAFlipWouldCommit) {
  const Instance instance("dryrun");
  const std::string rules = instance.do_inside(kernel().list_all);
  const std::string transaction = instance.do_inside(
      "dualctl --json flip sample container --percent 10 --dry-run | sed 's/.*\"transaction\":\"//; s/\"}$//; s/\\\\\"/\"/g; s/\\\\n/\\n/g'");
  EXPECT_EQ(instance.do_inside(kernel().list_all), rules);
  EXPECT_EQ(instance.route(), "rpm");
  // It is the exact transaction: committed by hand it does what the flip would have done.
  instance.do_inside("systemctl stop dualdeployd dualdeployd.socket");
  instance.write("/root/transaction", transaction);
  instance.do_inside(kernel().commit);
  EXPECT_THAT(instance.do_inside(kernel().list), HasSubstr(kernel().ten_percent));
}

TEST(Standby, AColdContainerIsStartedForAFlip) {
  const Instance instance("cold");
  configure(instance, "s/^container:$/container:\\n  standby: cold\\n  stop_after: 2s/");
  instance.until("it is stopped", [&] { return instance.container_pid() == "0"; });
  instance.do_inside("dualctl flip sample container");
  EXPECT_EQ(instance.answered_by(), "container");
  instance.do_inside("dualctl flip sample rpm");
  instance.until("it is stopped again", [&] { return instance.container_pid() == "0"; });
  EXPECT_EQ(instance.answered_by(), "rpm");
  EXPECT_THAT(instance.do_inside("dualctl history --all"), HasSubstr("stopping: cold standby, not used for 2s"));
}

TEST(RpmUnhealthy, FailsOverWhenAskedTo) {
  const Instance instance("failsick");
  configure(instance, "s/x^//", "rpm_unhealthy: failover\n");
  Load load(instance, Load::Kind::keep_alive, 4);
  instance.do_inside("curl -s -X POST 'http://127.0.0.1/switch?state=sick'");
  instance.until("the container has the traffic", [&] { return instance.answered_by() == "container"; });
  EXPECT_THAT(instance.history(), HasSubstr("failover"));
  (void)load.finish();
}

TEST(Rescue, WithTheAgentDeadAndItsStateUnreadable) {
  const Instance instance("rescuedead");
  instance.flip("container");
  instance.do_inside("systemctl mask --runtime dualdeployd.service; systemctl kill -s KILL --kill-who=main dualdeployd;"
                     "rm -rf /var/lib/dualdeploy; echo garbage > /var/lib/dualdeploy");
  EXPECT_EQ(instance.answered_by(), "container");
  Load load(instance, Load::Kind::connection_per_request, 3);
  const Outcome rescued = instance.inside("dualctl rescue");
  EXPECT_EQ(instance.answered_by(), "rpm") << rescued.output;
  EXPECT_NE(instance.inside(kernel().list).status, 0);
  EXPECT_EQ(load.finish().errors, "");
  std::printf("dualctl rescue: status %d: %s", rescued.status, rescued.output.c_str());
  instance.do_inside("rm /var/lib/dualdeploy; systemctl unmask --runtime dualdeployd.service; systemctl reset-failed dualdeployd;"
                     "systemctl start dualdeployd; dualctl flip sample container --wait");
  // The one line that needs nothing of ours.
  instance.do_inside("systemctl mask --runtime dualdeployd.service; systemctl kill -s KILL --kill-who=main dualdeployd");
  instance.do_inside(kernel().way_out);
  EXPECT_EQ(instance.answered_by(), "rpm");
}

}  // namespace
}  // namespace dualdeploy::testing
