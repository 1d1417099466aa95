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
  EXPECT_EQ(instance.do_inside("ls /etc/ssh/ssh_host_kept_key"), "/etc/ssh/ssh_host_kept_key\n");
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

TEST(Seal, RefusesWhateverIsNotRight) {
  const Instance instance("sealno");
  instance.do_inside("touch /etc/ssh/ssh_host_kept_key");
  const std::string service = "/etc/dualdeploy/services.d/sample.yaml";
  // A unit that the next boot would not start.
  instance.do_inside("systemctl disable -q sample");
  expect_refused(instance, "sample.service will not be started at the next boot (disabled): systemctl enable sample.service");
  // Nor the one that is enabled until then only.
  instance.do_inside("systemctl enable -q --runtime sample");
  expect_refused(instance, "sample.service will not be started at the next boot (enabled-runtime)");
  instance.do_inside("systemctl disable -q --runtime sample; systemctl enable -q sample");

  // Bad configuration: every problem with its place.
  instance.do_inside("cp " + service + " /root/kept; echo 'colour: red' >>" + service);
  expect_refused(instance, "sample.yaml:");
  instance.do_inside("cp /root/kept " + service);

  // Rules of ours that somebody has saved.
  instance.do_inside("echo '# table inet dualdeploy {' >>/etc/nftables.conf");
  expect_refused(instance, "/etc/nftables.conf:");
  instance.do_inside("sed -i /dualdeploy/d /etc/nftables.conf; mkdir /etc/nftables; nft list ruleset >/etc/nftables/all.nft;"
                     "echo '# dualdeploy' >>/etc/nftables/all.nft");
  expect_refused(instance, "/etc/nftables/all.nft:");
  instance.do_inside("rm -r /etc/nftables");

  // Who may log in, kept where it would not be wiped.
  instance.do_inside("mkdir -p /srv/keys; echo key >/srv/keys/authorized_keys; rm -rf /root/.ssh; ln -s /srv/keys /root/.ssh");
  expect_refused(instance, "/root/.ssh/authorized_keys would stay in the image: /root/.ssh is a link");
  instance.do_inside("cat /srv/keys/authorized_keys && rm /root/.ssh");

  // All of it at once, also what a configuration with problems cannot be asked about.
  instance.do_inside("dualctl hold sample --reason 'all at once'; echo '-A dualdeploy-in' >/etc/iptables-not-ours; mkdir -p /etc/iptables;"
                     "echo '-A dualdeploy-in' >/etc/iptables/rules.v4; echo 'colour: red' >>" + service);
  expect_refused(instance, "3 problem(s)");
  instance.do_inside("dualctl release sample; rm -r /etc/iptables; cp /root/kept " + service);

  // A route that is not the RPM, and a hold.
  instance.flip("container");
  instance.do_inside("dualctl hold sample --reason 'release day'");
  expect_refused(instance, "the route is container, and an image begins at the RPM: dualctl revert sample");
  expect_refused(instance, "release day");
  instance.do_inside("dualctl release sample; dualctl revert sample");

  // A sick side.
  instance.do_inside("systemctl mask -q --runtime --now sample");  // Or the agent would have it up again in no time.
  instance.until("it is known", [&] { return instance.health("rpm") == "sick"; });
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

  // A flip that is not proved goes back.
  instance.do_inside("setsid socat TCP-LISTEN:9090,fork,reuseaddr SYSTEM:'echo elsewhere' >/dev/null 2>&1 &" + kernel().diversion);
  expect_refused(instance, "a flip to the container failed: ");
  EXPECT_EQ(instance.route(), "rpm");
  instance.do_inside("nft delete table ip theirs");

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
  instance.do_inside("systemctl enable -q sample; touch /etc/ssh/ssh_host_test_key /root/.bash_history; mkdir -p /root/.ssh /var/lib/cloud/instances/i-1;"
                     "echo key >/root/.ssh/authorized_keys; useradd -m -d /opt/ann ann; mkdir /opt/ann/.ssh; echo key >/opt/ann/.ssh/authorized_keys;"
                     "ln -s /root /var/lib/cloud/instance; echo seed >/var/lib/systemd/random-seed; touch /root/kept");
  const std::string machine = instance.do_inside("cat /etc/machine-id");
  const std::string package = first_line(instance.do_inside("rpm -q --qf '%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}' dualdeploy-sample"));
  const std::string revision = first_line(instance.do_inside("rpm -q --qf '%{VCS}' dualdeploy-sample"));
  const std::string image = first_line(instance.do_inside("docker inspect -f '{{.Id}}' dualdeploy-sample:latest"));

  // One thing cannot be wiped: all else is, and it is not called sealed.
  instance.do_inside("touch /etc/ssh/ssh_host_stuck_key; mount --bind /root/kept /etc/ssh/ssh_host_stuck_key");
  const Outcome stuck = instance.inside("dualctl seal");
  EXPECT_EQ(stuck.status, 1);
  EXPECT_THAT(stuck.output, AllOf(HasSubstr("could not be wiped: /etc/ssh/ssh_host_stuck_key: "), HasSubstr("NOT sealed")));
  EXPECT_EQ(instance.do_inside("wc -c </etc/machine-id"), "0\n");
  EXPECT_EQ(instance.inside("dualctl seal").status, 5);

  // Mended, it can be sealed again; also where nobody reads to the end.
  instance.do_inside("umount /etc/ssh/ssh_host_stuck_key; systemctl start docker dualdeployd");
  instance.until_healthy();
  instance.do_inside("dualctl --json seal --keep-authorized-keys >/root/told 2>&1");
  EXPECT_THAT(instance.do_inside("cat /root/told"), AllOf(HasSubstr("\"state\":\"sealed\""), HasSubstr("sample: flipped to the container and back")));
  EXPECT_EQ(instance.do_inside("wc -c </etc/machine-id"), "0\n");
  EXPECT_EQ(instance.inside("ls -d /etc/ssh/ssh_host_*_key /root/.bash_history /root/.ssh/authorized_keys /opt/ann/.ssh/authorized_keys "
                            "/var/lib/cloud/instance* /var/lib/systemd/random-seed /var/lib/dbus/machine-id /etc/docker/key.json "
                            "/var/log/journal/* 2>/dev/null").output, "");
  EXPECT_EQ(instance.inside("ls -A /var/lib/docker/containers").output, "");
  EXPECT_EQ(instance.do_inside("ls -A /var/lib/dualdeploy /root/kept"), "/root/kept\n\n/var/lib/dualdeploy:\nimage.json\n");
  EXPECT_THAT(instance.do_inside("cat /var/lib/dualdeploy/image.json"),
              HasSubstr("\"services\":{\"sample\":{\"package\":\"" + package + "\",\"package_revision\":\"" + revision +
                        "\",\"image\":\"dualdeploy-sample:latest\",\"image_id\":\"" + image + "\",\"image_revision\":\"" + revision + "\"}}"));
  EXPECT_NE(instance.inside(kernel().list).status, 0);
  EXPECT_EQ(instance.inside("systemctl is-active docker docker.socket dualdeployd dualdeployd.socket").output, "inactive\ninactive\ninactive\ninactive\n");
  EXPECT_EQ(instance.inside("systemctl is-enabled docker dualdeployd dualdeployd.socket").output, "enabled\nenabled\nenabled\n");
  EXPECT_EQ(instance.answered_by(), "rpm");  // The service itself was not touched.
  EXPECT_EQ(instance.inside("dualctl seal --check").status, 1);  // The engine cannot be asked.

  instance.reboot();
  instance.until_healthy();
  EXPECT_EQ(instance.route(), "rpm");
  EXPECT_EQ(instance.answered_by(), "rpm");
  EXPECT_NE(instance.do_inside("cat /etc/machine-id"), machine);
  EXPECT_THAT(instance.history(), Not(HasSubstr("seal")));
  EXPECT_THAT(instance.do_inside("dualctl seal --check"), HasSubstr("as sealed on 20"));
  EXPECT_THAT(instance.do_inside("dualctl --json seal --check"), HasSubstr("\"differences\":[]"));

  // Another image under the name, of the right revision: different at once, also while the container of the old one has the traffic.
  instance.flip("container");
  instance.do_inside("mkdir /root/other; echo 'FROM dualdeploy-sample\nLABEL other=1' >/root/other/Dockerfile; docker build -q -t dualdeploy-sample /root/other");
  const Outcome changed = instance.inside("dualctl seal --check");
  EXPECT_EQ(changed.status, 3);
  EXPECT_THAT(changed.output, HasSubstr("sample: image id was " + image + ", is sha256:"));
  EXPECT_EQ(changed.output.find("revision"), std::string::npos) << changed.output;
  instance.flip("rpm");
  instance.until("the agent says so", [&] {
    return instance.inside("dualctl status").output.find("is not the image that was sealed") != std::string::npos;
  });

  // It needs no agent, and a manifest that it can read.
  instance.do_inside("systemctl stop dualdeployd.socket dualdeployd");
  EXPECT_EQ(instance.inside("dualctl seal --check").status, 3);
  instance.do_inside("echo broken >/var/lib/dualdeploy/image.json");
  const Outcome broken = instance.inside("dualctl seal --check");
  EXPECT_EQ(broken.status, 1);
  EXPECT_THAT(broken.output, HasSubstr("/var/lib/dualdeploy/image.json: it is not JSON"));
  instance.do_inside("echo 'colour: red' >>/etc/dualdeploy/services.d/sample.yaml");
  EXPECT_EQ(instance.inside("dualctl seal --check").status, 1);
}

}  // namespace
}  // namespace dualdeploy::testing
