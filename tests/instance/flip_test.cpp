// Flips under load, and connections that must not notice them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "instance/support/instance.hpp"
#include "instance/support/kernel.hpp"
#include "instance/support/load.hpp"
#include "instance/support/talk.hpp"

namespace dualdeploy::testing {
namespace {

using ::testing::HasSubstr;

void flip_under(Load::Kind kind, const std::string& name) {
  const Instance instance(name);
  Load load(instance, kind, 20);
  int failed = 0;
  for (int i = 0; i < 50; ++i) {
    for (const std::string side : {"container", "rpm"}) {
      failed += instance.inside("dualctl flip sample " + side).status == 0 ? 0 : 1;
    }
  }
  const Load::Report report = load.finish();
  EXPECT_EQ(failed, 0) << instance.history();
  EXPECT_EQ(report.errors, "") << report.text;
  EXPECT_GT(report.requests, 1'000) << report.text;
  std::printf("100 flips, %ld requests, errors: %s\n", report.requests, report.errors.empty() ? "none" : report.errors.c_str());
}

TEST(Flip, HundredUnderKeepAliveLoad) { flip_under(Load::Kind::keep_alive, "flipka"); }
TEST(Flip, HundredUnderConnectionPerRequestLoad) { flip_under(Load::Kind::connection_per_request, "flipcr"); }

TEST(Flip, OldConnectionsLiveOn) {
  for (const std::string address : {"TCP4:192.0.2.1:80", "TCP6:[2001:db8::1]:80"}) {
    const Instance instance("fliplong");
    // Opened before a flip.
    const std::string heard = talk(instance, address, [&] {
      instance.flip("container");
      EXPECT_EQ(instance.answered_by(), "container");
    });
    EXPECT_THAT(heard, HasSubstr("rpm: second"));
    const std::string back = talk(instance, address, [&] { instance.flip("rpm"); });
    EXPECT_THAT(back, HasSubstr("container: second"));
  }
}

TEST(Flip, ConnectionOlderThanTheAgentIsNotMoved) {
  for (const std::string address : {"TCP4:192.0.2.1:80", "TCP6:[2001:db8::1]:80"}) {
    const Instance instance("flipold", Instance::Agent::absent);
    const std::string heard = talk(instance, address, [&] {
      instance.install_agent();
      instance.flip("container");
      EXPECT_EQ(instance.answered_by(), "container");
    });
    EXPECT_THAT(heard, HasSubstr("rpm: second"));
  }
}

TEST(Flip, EveryAddressAndFamilyAndTheGuard) {
  const Instance instance("flipaddr");
  EXPECT_EQ(instance.client("curl -s -m 1 http://192.0.2.1:8080/").status, 28) << "the container's port must be dark";
  EXPECT_EQ(instance.client("curl -s -m 1 'http://[2001:db8::1]:8080/'").status, 28);
  EXPECT_THAT(instance.do_inside("curl -s http://127.0.0.1:8080/"), HasSubstr("container"));
  EXPECT_THAT(instance.do_inside(kernel().list), ::testing::Not(HasSubstr(kernel().redirect)));
  instance.flip("container");
  for (const std::string host : {"192.0.2.1", "192.0.2.11", "[2001:db8::1]"}) EXPECT_EQ(instance.answered_by(host), "container");
  EXPECT_THAT(instance.do_inside("curl -s http://127.0.0.1/; curl -s 'http://[::1]/'; curl -s http://192.0.2.1/"),
              ::testing::Eq("hello from container\nhello from container\nhello from container\n"));
  EXPECT_EQ(instance.health("rpm"), "healthy");  // Its check on the front port still sees the RPM.
  EXPECT_EQ(instance.client("curl -s -m 1 http://192.0.2.1:8080/").status, 28);
  // Somebody else's port 80 is not ours.
  instance.do_client("setsid python3 -m http.server 80 --bind 192.0.2.2 >/dev/null 2>&1 & sleep 0.5");
  EXPECT_THAT(instance.do_inside("curl -s -I http://192.0.2.2/"), HasSubstr("SimpleHTTP"));
}

TEST(Flip, SeveralServicesAndPortsEachOnTheirOwn) {
  const Instance instance("flipmany");
  instance.write("/run/systemd/system/second.service",
                 "[Service]\nExecStart=/usr/bin/dualdeploy-sample --port 81 --port 82 --side rpm\n");
  instance.write("/etc/dualdeploy/services.d/second.yaml",
                 "ports: [{front: 81, container: 8181}, {front: 82, container: 8182}]\nparity: false\n"
                 "rpm: {unit: second.service}\n"
                 "container: {image: dualdeploy-sample, command: [--port, '8181', --port, '8182', --side, container]}\n");
  instance.do_inside("systemctl daemon-reload && systemctl reload dualdeployd");  // The agent starts the unit by itself.
  instance.do_inside("dualctl flip second container --wait");
  const auto side = [&](const std::string& host) { return instance.answered_by(host); };
  for (const std::string host : {"192.0.2.1:81", "192.0.2.1:82", "[2001:db8::1]:81", "[2001:db8::1]:82"}) {
    EXPECT_EQ(side(host), "container") << host;
  }
  EXPECT_EQ(side("192.0.2.1:80"), "rpm");
  instance.flip("container");
  instance.do_inside("dualctl revert second");
  EXPECT_EQ(side("192.0.2.1:80"), "container");
  for (const std::string host : {"192.0.2.1:81", "[2001:db8::1]:82"}) EXPECT_EQ(side(host), "rpm") << host;
  // A service that leaves the configuration leaves nothing.
  instance.do_inside("dualctl flip second container && rm /etc/dualdeploy/services.d/second.yaml && systemctl reload dualdeployd");
  instance.until("the second service is gone", [&] {
    return instance.inside(kernel().list).output.find("second") == std::string::npos &&
           instance.inside("docker ps -q --filter name=dualdeploy-second").output.empty();
  });
  EXPECT_EQ(side("192.0.2.1:81"), "rpm");
  EXPECT_EQ(side("192.0.2.1:80"), "container");
}

}  // namespace
}  // namespace dualdeploy::testing
