// The agent under valgrind's memcheck, from its start to its end, with one of everything in between.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "instance/support/instance.hpp"

namespace dualdeploy::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string report = "/var/lib/dualdeploy/valgrind.log";

/// The unit runs the agent as built for development, in valgrind, with the patience that this takes: an agent is slower in it
/// by some tenfold; it translates code, which the confinement forbids. An end with a finding is status 99, and nothing is
/// started again.
void run_in_valgrind(const Instance& instance) {
  const Scratch scratch;
  // Files that stand alone: no package has to be installed into the root that all instances share. Of the dynamic linker
  // valgrind has to know the symbols (libc6-dbg has them, by the linker's build id; the instance's is the same).
  const std::string id = do_shell("readelf -n /lib64/ld-linux-x86-64.so.2 | sed -n 's/.*Build ID: //p'");
  do_shell("tar -C / -cf " + scratch.path + "/valgrind.tar usr/bin/valgrind usr/bin/valgrind.bin "
           "usr/libexec/valgrind/memcheck-amd64-linux usr/libexec/valgrind/default.supp "
           "usr/libexec/valgrind/vgpreload_core-amd64-linux.so usr/libexec/valgrind/vgpreload_memcheck-amd64-linux.so "
           "usr/lib/debug/.build-id/" + id.substr(0, 2) + "/" + id.substr(2) + ".debug");
  instance.push(scratch.path + "/valgrind.tar", "/root/valgrind.tar");
  instance.do_inside("tar -C / -xf /root/valgrind.tar");
  instance.push(DD_DAEMON, "/usr/sbin/dualdeployd");
  instance.do_inside("mkdir -p /run/systemd/system/dualdeployd.service.d");
  instance.write("/run/systemd/system/dualdeployd.service.d/90-valgrind.conf",
                 "[Service]\nExecStart=\nExecStart=/usr/bin/valgrind --tool=memcheck --leak-check=full --errors-for-leak-kinds=definite "
                 "--show-leak-kinds=definite,possible --error-exitcode=99 --child-silent-after-fork=yes --trace-children=no --vgdb=no "
                 "--num-callers=40 --log-file=" + report + " /usr/sbin/dualdeployd\n"
                 "MemoryDenyWriteExecute=no\nRestart=no\nWatchdogSec=120\nTimeoutStartSec=300\nTimeoutStopSec=120\n");
  instance.do_inside("systemctl daemon-reload && systemctl start dualdeployd");
  instance.until_healthy();
}

void do_one_of_everything(const Instance& instance) {
  const auto ask = [&](const std::string& what) { instance.do_inside("dualctl " + what); };
  instance.flip("container");
  EXPECT_EQ(instance.answered_by(), "container");
  EXPECT_THAT(instance.do_inside("dualctl status"), HasSubstr("container"));
  ask("drain sample");
  instance.do_inside("systemctl reload dualdeployd");
  ask("flip sample container --percent 25 --sticky");
  ask("flip sample rpm --testers 192.0.2.12");
  ask("flip sample container --dry-run");
  ask("flip sample container --confirm-within 1m");
  ask("confirm sample");
  ask("hold sample --reason valgrind");
  EXPECT_EQ(instance.inside("dualctl flip sample rpm").status, 3) << "held";
  ask("release sample");
  instance.flip("rpm");
  EXPECT_EQ(instance.answered_by(), "rpm");
  EXPECT_THAT(instance.do_inside("dualctl history --all"), HasSubstr("hold"));
  ask("events -n 10");
  // What is not understood, and what cannot be kept as it was said.
  const std::string curl = "curl -s --unix-socket /run/dualdeploy/control.sock ";
  EXPECT_THAT(instance.do_inside(curl + "http://agent/v1/nowhere"), HasSubstr("there is nothing here"));
  EXPECT_THAT(instance.do_inside(curl + "-d '{' http://agent/v1/services/sample/flip"), HasSubstr("not JSON"));
  instance.do_inside("echo '- wrong' >> /etc/dualdeploy/agent.yaml");
  (void)instance.inside("systemctl reload dualdeployd");
  instance.until("a bad configuration is refused", [&] { return instance.inside("journalctl -u dualdeployd | grep -q agent.yaml:").status == 0; });
  instance.do_inside("systemctl kill --kill-who=main -s KILL sample");  // The agent has to notice.
  instance.until_healthy();
}

TEST(Valgrind, OneFullFlip) {
  const Instance instance("valgrind", Instance::Agent::installed);
  run_in_valgrind(instance);
  do_one_of_everything(instance);
  instance.do_inside("systemctl stop dualdeployd");
  const std::string found = instance.do_inside("cat " + report);
  EXPECT_THAT(instance.do_inside("systemctl show -p Result -p ExecMainStatus dualdeployd"),
              ::testing::AllOf(HasSubstr("Result=success\n"), HasSubstr("ExecMainStatus=0\n")))
      << found;
  EXPECT_THAT(found, HasSubstr("ERROR SUMMARY: 0 errors")) << "it did not come to its end";
  EXPECT_THAT(found, Not(HasSubstr("Process terminating")));
  const std::string summary = instance.inside("grep -E 'in use at exit|total heap usage|definitely lost|All heap blocks|ERROR SUMMARY' " + report).output;
  std::printf("%s", summary.c_str());
}

}  // namespace
}  // namespace dualdeploy::testing
