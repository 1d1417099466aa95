// The last step of an image build.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "instance/support/instance.hpp"
#include "instance/support/kernel.hpp"

namespace dualdeploy::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// Exit status 3, the cause named, and nothing wiped or stopped.
void expect_refused(const Instance& instance, const std::string& cause, const std::string& arguments = "") {
  const Outcome outcome = instance.inside("dualctl seal " + arguments);
  EXPECT_EQ(outcome.status, 3) << outcome.output;
  EXPECT_THAT(outcome.output, AllOf(HasSubstr(cause), HasSubstr("not sealed, and nothing was changed")));
  EXPECT_EQ(instance.do_inside("wc -c </etc/machine-id"), "33\n");
  EXPECT_EQ(instance.do_inside("systemctl is-active dualdeployd"), "active\n");
  EXPECT_NE(instance.inside("test -e /var/lib/dualdeploy/image.json").status, 0);
}

TEST(Seal, RefusesWhateverIsNotRight) {
  const Instance instance("sealno");
  const std::string service = "/etc/dualdeploy/services.d/sample.yaml";
  // A unit that the next boot would not start.
  instance.do_inside("systemctl disable -q sample");
  expect_refused(instance, "sample.service will not be started at the next boot (disabled): systemctl enable sample.service");
  instance.do_inside("systemctl enable -q sample");

  // Bad configuration: every problem with its place.
  instance.do_inside("cp " + service + " /root/kept; echo 'colour: red' >>" + service);
  expect_refused(instance, "sample.yaml:");
  instance.do_inside("cp /root/kept " + service);

  // Rules of ours that somebody has saved.
  instance.do_inside("echo '# table inet dualdeploy {' >>/etc/nftables.conf");
  expect_refused(instance, "/etc/nftables.conf:");
  instance.do_inside("sed -i /dualdeploy/d /etc/nftables.conf");

  // A route that is not the RPM, and a hold.
  instance.flip("container");
  instance.do_inside("dualctl hold sample --reason 'release day'");
  expect_refused(instance, "the route is container, and an image begins at the RPM: dualctl revert sample");
  expect_refused(instance, "release day");
  instance.do_inside("dualctl release sample; dualctl revert sample");

  // A sick side.
  instance.do_inside("systemctl mask -q --runtime --now sample");  // Or the agent would have it up again in no time.
  expect_refused(instance, "the RPM side is sick", "--timeout 2s");
  instance.do_inside("systemctl unmask -q --runtime sample; systemctl start sample");
  instance.until_healthy();

  // An image of another revision under the right name.
  instance.do_inside("docker tag dualdeploy-sample kept; mkdir /root/wrong; echo 'FROM kept\nLABEL org.opencontainers.image.revision=wr0ng' "
                     ">/root/wrong/Dockerfile; docker build -q -t dualdeploy-sample /root/wrong");
  expect_refused(instance, "wr0ng");
  instance.do_inside("docker tag kept dualdeploy-sample");
  instance.until("the container of the right image runs again", [&] {
    return instance.health("container") == "healthy" && instance.inside("dualctl flip sample container --dry-run").output.find("FAILS") == std::string::npos;
  });

  // The list of what would go, and nothing gone.
  const std::string list = instance.do_inside("dualctl seal --dry-run");
  EXPECT_THAT(list, AllOf(HasSubstr("would empty /etc/machine-id"), HasSubstr("would wipe /var/lib/dualdeploy/services")));
  EXPECT_EQ(instance.route(), "rpm");
  EXPECT_EQ(instance.inside("dualctl seal --check").status, 1);
  EXPECT_EQ(instance.inside("runuser -u nobody -- dualctl seal").status, 4);
  instance.do_inside("systemctl stop dualdeployd.socket dualdeployd");
  const Outcome without_agent = instance.inside("dualctl seal");
  EXPECT_EQ(without_agent.status, 5);
  EXPECT_THAT(without_agent.output, HasSubstr("systemctl start dualdeployd"));
}

TEST(Seal, ASealedMachineBootsAsNew) {
  const Instance instance("sealyes");
  instance.do_inside("systemctl enable -q sample; touch /etc/ssh/ssh_host_test_key /root/.bash_history; mkdir -p /root/.ssh; echo key >/root/.ssh/authorized_keys");
  const std::string told = instance.do_inside("dualctl seal");
  std::printf("%s", told.c_str());
  EXPECT_THAT(told, AllOf(HasSubstr("sample: flipped to the container and back"), HasSubstr("sealed: power it off and take the image")));
  EXPECT_EQ(instance.do_inside("wc -c </etc/machine-id"), "0\n");
  EXPECT_EQ(instance.inside("ls /etc/ssh/ssh_host_test_key /root/.bash_history /root/.ssh/authorized_keys 2>/dev/null").output, "");
  EXPECT_EQ(instance.do_inside("ls -A /var/lib/dualdeploy"), "image.json\n");
  EXPECT_NE(instance.inside(kernel().list).status, 0);
  EXPECT_EQ(instance.inside("systemctl is-active docker dualdeployd").output, "inactive\ninactive\n");
  EXPECT_EQ(instance.answered_by(), "rpm");  // The service itself was not touched.

  instance.reboot();
  instance.until_healthy();
  EXPECT_EQ(instance.route(), "rpm");
  EXPECT_THAT(instance.history(), Not(HasSubstr("seal")));
  EXPECT_THAT(instance.do_inside("dualctl seal --check"), HasSubstr("as sealed at 20"));
  EXPECT_THAT(instance.do_inside("dualctl --json seal --check"), HasSubstr("\"differences\":[]"));

  // Another image under the name, of the right revision: different, and named so.
  instance.do_inside("mkdir /root/other; echo 'FROM dualdeploy-sample\nLABEL other=1' >/root/other/Dockerfile; docker build -q -t dualdeploy-sample /root/other");
  instance.until("it is noticed", [&] {
    const Outcome outcome = instance.inside("dualctl seal --check");
    return outcome.status == 3 && outcome.output.find("sample: image id was sha256:") != std::string::npos;
  });
  EXPECT_THAT(instance.inside("dualctl status").output, HasSubstr("is not the image that was sealed"));
  // It can be sealed again.
  EXPECT_THAT(instance.do_inside("dualctl seal --keep-authorized-keys"), HasSubstr("sealed: power it off"));
}

}  // namespace
}  // namespace dualdeploy::testing
