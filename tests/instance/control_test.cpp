// Who may ask what, and clients that misbehave.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "instance/support/instance.hpp"

namespace dualdeploy::testing {
namespace {

using ::testing::HasSubstr;

TEST(Control, GroupsDecide) {
  const Instance instance("ctlgroups");
  instance.do_inside("useradd stranger; useradd -G dualdeploy-view viewer; useradd -G dualdeploy olga");
  const auto as = [&](const std::string& user, const std::string& command) {
    return instance.inside("runuser -u " + user + " -- " + command);
  };
  const Outcome stranger = as("stranger", "dualctl status");
  EXPECT_EQ(stranger.status, 4);
  EXPECT_THAT(stranger.output, HasSubstr("user stranger"));
  EXPECT_THAT(stranger.output, HasSubstr("usermod -aG dualdeploy-view stranger"));
  EXPECT_EQ(as("viewer", "dualctl status").status, 0);
  EXPECT_EQ(as("viewer", "dualctl history").status, 0);
  const Outcome flip = as("viewer", "dualctl flip sample container");
  EXPECT_EQ(flip.status, 4);
  EXPECT_THAT(flip.output, HasSubstr("may look but not change"));
  EXPECT_EQ(as("olga", "dualctl flip sample container --reason try").status, 0);
  EXPECT_THAT(instance.history(), HasSubstr("by olga"));
  EXPECT_EQ(as("olga", "dualctl rescue").status, 4);
}

TEST(Control, ExitStatusesByMeaning) {
  const Instance instance("ctlexit");
  EXPECT_EQ(instance.inside("dualctl").status, 2);
  EXPECT_EQ(instance.inside("dualctl flip sample nowhere").status, 2);
  EXPECT_EQ(instance.inside("dualctl flip nosuch container").status, 2);
  instance.do_inside("curl -s -X POST 'http://127.0.0.1:8080/switch?state=sick'");
  instance.until("sick", [&] { return instance.health("container") == "sick"; });
  EXPECT_EQ(instance.inside("dualctl flip sample container").status, 3);
  instance.do_inside("dualctl hold sample --reason 'release day'");
  const Outcome held = instance.inside("dualctl flip sample container");
  EXPECT_EQ(held.status, 3);
  EXPECT_THAT(held.output, HasSubstr("release day"));
  instance.do_inside("dualctl release sample");
  instance.do_inside("docker rmi -f dualdeploy-sample; docker rm -f dualdeploy-sample");
  EXPECT_EQ(instance.inside("dualctl flip sample container --wait --timeout 1s").status, 6);
  instance.do_inside("systemctl stop dualdeployd dualdeployd.socket");
  const Outcome gone = instance.inside("dualctl status");
  EXPECT_EQ(gone.status, 5);
  EXPECT_THAT(gone.output, HasSubstr("systemctl status"));
}

TEST(Control, CallsQueueAcrossARestart) {
  const Instance instance("ctlqueue");
  instance.do_inside("systemctl restart --no-block dualdeployd; for i in $(seq 50); do dualctl status >/dev/null || exit 1; done");
}

TEST(Control, MisbehavingClientsHurtNobody) {
  const Instance instance("ctlbad");
  // Half-open, slow, oversized and malformed, from an ordinary user, many at a time.
  instance.do_inside("useradd -G dualdeploy-view crowd");
  instance.do_inside(
      "for i in $(seq 40); do runuser -u crowd -- sh -c 'sleep 20 | socat - UNIX:/run/dualdeploy/control.sock' >/dev/null 2>&1 & done;"
      "for i in $(seq 20); do (printf 'GET /v1/'; sleep 20) | socat - UNIX:/run/dualdeploy/control.sock >/dev/null 2>&1 & done;"
      "sleep 1; true");
  const auto raw = [&](const std::string& request) {
    return instance.inside(request + " | timeout 10 socat -t 8 - UNIX:/run/dualdeploy/control.sock").output;
  };
  EXPECT_THAT(raw("printf 'NONSENSE\\r\\n\\r\\n'"), HasSubstr("400"));
  EXPECT_THAT(raw("(printf 'GET /v1/status HTTP/1.1\\r\\nX: '; head -c 20000 /dev/zero | tr '\\0' x)"), HasSubstr("431"));
  EXPECT_THAT(raw("(printf 'POST /v1/rescue HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 1000000\\r\\n\\r\\n'; head -c 1000000 /dev/zero)"),
              HasSubstr("413"));
  EXPECT_THAT(raw("(printf 'GET /v1/'; sleep 7)"), HasSubstr("408"));
  EXPECT_THAT(raw("printf 'POST /v1/services/sample/flip HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 10\\r\\n\\r\\n{\"to\":\"xx\"'"),
              HasSubstr("400"));
  EXPECT_EQ(instance.inside("dualctl flip sample container").status, 0);
  EXPECT_EQ(instance.inside("dualctl flip sample rpm").status, 0);
  EXPECT_EQ(instance.inside("curl -s --unix-socket /run/dualdeploy/control.sock http://x/v1/status").status, 0);
}

TEST(Control, EventsFollow) {
  const Instance instance("ctlevents");
  const std::string seen =
      instance.do_inside("(timeout 8 dualctl --json events --follow -n 0 > /tmp/events || true) & sleep 1;"
                         "dualctl flip sample container --reason watch >/dev/null; dualctl flip sample rpm > /dev/null; wait; cat /tmp/events");
  EXPECT_THAT(seen, HasSubstr("\"kind\":\"flip\""));
  EXPECT_THAT(seen, HasSubstr("\"reason\":\"watch\""));
  EXPECT_THAT(instance.do_inside("journalctl DUALDEPLOY_SERVICE=sample DUALDEPLOY_KIND=flip -o cat --no-pager"), HasSubstr("watch"));
}

}  // namespace
}  // namespace dualdeploy::testing
