// Which instance this is, what EC2 has in mind for it, and what load balancers are told.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <future>
#include <set>
#include <sstream>
#include <thread>

#include "instance/support/background.hpp"
#include "instance/support/held.hpp"
#include "instance/support/instance.hpp"
#include "instance/support/load.hpp"
#include "instance/support/metadata.hpp"

namespace dualdeploy::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* health_settings = "health: {listen: '0.0.0.0:9180', leave_for: 2s}\n";

/// Status and text of /healthz/sample, as a load balancer gets it.
std::string healthz(const Instance& instance, const std::string& path = "/healthz/sample") {
  return instance.client("curl -s -m 3 -w '%{http_code}' http://192.0.2.1:9180" + path + " | tr '\\n' ' '").output;
}

void restart_agent(const Instance& instance) {
  instance.do_inside("systemctl restart dualdeployd");
  instance.until_healthy();
}

std::string text_status(const Instance& instance) { return instance.inside("dualctl status").output; }

/// The classic disaster: an image is taken of a running, flipped instance, and becomes another one.
TEST(Ec2, AnImageOfARunningInstanceInheritsNothing) {
  const Instance instance("ec2image", Instance::Agent::installed);
  const MetadataService metadata(instance);
  metadata.set("instance-id", "i-0aaaaaaaaaaaaaaaa");
  instance.write_agent_config(MetadataService::settings);
  instance.do_inside("systemctl start dualdeployd");
  instance.until_healthy();
  instance.flip("container");
  instance.do_inside("dualctl hold sample --reason 'release day'");
  EXPECT_THAT(text_status(instance), HasSubstr("i-0aaaaaaaaaaaaaaaa"));

  // The same instance, booted again: its route is its own.
  instance.reboot();
  instance.until("the container has the traffic again", [&] { return instance.answered_by() == "container"; });

  // Its disk, booted as another instance.
  instance.stop();
  metadata.set("instance-id", "i-0bbbbbbbbbbbbbbbb");
  instance.start();
  instance.until_healthy();
  EXPECT_EQ(instance.answered_by(), "rpm");
  EXPECT_EQ(instance.route(), "rpm");
  const std::string status = text_status(instance);
  EXPECT_THAT(status, AllOf(HasSubstr("i-0bbbbbbbbbbbbbbbb"), Not(HasSubstr("release day"))));
  EXPECT_THAT(instance.history(), AllOf(HasSubstr("the saved state is that of instance i-0aaaaaaaaaaaaaaaa, this is i-0bbbbbbbbbbbbbbbb"),
                                        Not(HasSubstr("release day"))));
  EXPECT_THAT(instance.do_inside("cat /var/lib/dualdeploy/of-i-0aaaaaaaaaaaaaaaa/history.jsonl"), HasSubstr("release day"));
  // And it flips as any other does.
  instance.flip("container");
  EXPECT_EQ(instance.answered_by(), "container");
}

/// A sealed image, booted twice: two instances that have nothing of the first nor of one another.
TEST(Ec2, ASealedImageBecomesTwoInstances) {
  const Instance built("ec2built", Instance::Agent::installed);
  {
    const MetadataService metadata(built);
    metadata.set("instance-id", "i-0aaaaaaaaaaaaaaaa");
    built.write_agent_config(MetadataService::settings);
    // Host keys are made at a boot that finds none, as sshd-keygen does on CentOS.
    built.write("/etc/systemd/system/keygen.service",
                "[Service]\nType=oneshot\nExecStart=/usr/bin/ssh-keygen -A\n[Install]\nWantedBy=multi-user.target\n");
    built.do_inside("systemctl enable -q --now keygen; systemctl enable -q sample; systemctl start dualdeployd");
    built.until_healthy();
    std::printf("%s", built.do_inside("dualctl seal").c_str());
  }
  built.stop();
  struct Copy {
    explicit Copy(const std::string& name, const Instance& image, const std::string& id) : instance(name, image), metadata(instance) {
      metadata.set("instance-id", id);
    }
    Instance instance;
    MetadataService metadata;
  };
  const Copy one("ec2one", built, "i-0bbbbbbbbbbbbbbbb");
  const Copy two("ec2two", built, "i-0cccccccccccccccc");
  std::set<std::string> machine_ids;
  std::set<std::string> host_keys;
  for (const Copy* copy : {&one, &two}) {
    const Instance& instance = copy->instance;
    instance.until_healthy();
    instance.until("it knows which it is", [&] { return text_status(instance).find("instance i-0") != std::string::npos; });
    machine_ids.insert(instance.do_inside("cat /etc/machine-id"));
    host_keys.insert(instance.do_inside("cat /etc/ssh/ssh_host_ed25519_key.pub"));
    EXPECT_EQ(instance.route(), "rpm");
    EXPECT_EQ(instance.answered_by(), "rpm");
    EXPECT_THAT(instance.history(), Not(HasSubstr("seal")));
    EXPECT_THAT(text_status(instance), Not(HasSubstr("ALARM")));
    EXPECT_THAT(instance.do_inside("dualctl seal --check"), HasSubstr("as sealed"));
    EXPECT_THAT(instance.do_inside("dualctl flip sample container --dry-run"), AllOf(HasSubstr("parity"), Not(HasSubstr("FAILS"))));
    instance.flip("container");
    EXPECT_EQ(instance.answered_by(), "container");
  }
  EXPECT_THAT(text_status(one.instance), HasSubstr("i-0bbbbbbbbbbbbbbbb"));
  EXPECT_THAT(text_status(two.instance), HasSubstr("i-0cccccccccccccccc"));
  EXPECT_EQ(machine_ids.size(), 2U);
  EXPECT_EQ(host_keys.size(), 2U);
}

/// Not known in time whose state it is: it is taken for its own, and forgotten once it is known to be another's.
TEST(Ec2, AForeignRouteThatIsFoundOutLateGoesHome) {
  const Instance instance("ec2late", Instance::Agent::installed);
  MetadataService metadata(instance);
  metadata.set("instance-id", "i-0aaaaaaaaaaaaaaaa");
  instance.write_agent_config(MetadataService::settings);
  instance.do_inside("systemctl start dualdeployd");
  instance.until_healthy();
  instance.flip("container");
  instance.stop();
  metadata.set("instance-id", "i-0bbbbbbbbbbbbbbbb");
  metadata.stop();
  instance.start();
  instance.until("the container has the traffic", [&] { return instance.answered_by() == "container"; });
  EXPECT_THAT(text_status(instance), HasSubstr("the metadata service cannot be asked"));
  EXPECT_THAT(instance.history(), HasSubstr("which instance this is is not known (yet)"));
  metadata.start();
  instance.until("the RPM has the traffic", [&] { return instance.answered_by() == "rpm"; });
  EXPECT_THAT(instance.history(), AllOf(HasSubstr("this is instance i-0bbbbbbbbbbbbbbbb"), HasSubstr("the route was instance i-0aaaaaaaaaaaaaaaa's")));
}

TEST(Ec2, InitialRouteByTagOrUserData) {
  const Instance instance("ec2tag", Instance::Agent::installed);
  const MetadataService metadata(instance);
  metadata.set("instance-id", "i-0aaaaaaaaaaaaaaaa");
  metadata.set_user_data("#!/bin/sh\n#dualdeploy sample=container\necho\n");
  instance.write_agent_config(MetadataService::settings);
  instance.do_inside("systemctl start dualdeployd");
  instance.until("the user data's route", [&] { return instance.answered_by() == "container"; });
  EXPECT_THAT(instance.history(), HasSubstr("initial route, by the instance's tag or user data"));
  // From then on it is the saved one: an operator's is not overruled at the next boot.
  instance.flip("rpm");
  instance.reboot();
  instance.until_healthy();
  EXPECT_EQ(instance.route(), "rpm");
  // As another instance, with a tag, which goes before the user data.
  instance.stop();
  metadata.set("instance-id", "i-0bbbbbbbbbbbbbbbb");
  metadata.set("tags/instance/dualdeploy-route", "*=25");
  instance.start();
  instance.until("the tag's route", [&] { return instance.route() == "container 25%"; });
  // One that is not understood is a warning, and no route.
  instance.stop();
  metadata.set("instance-id", "i-0cccccccccccccccc");
  metadata.set("tags/instance/dualdeploy-route", "sample=both");
  instance.start();
  instance.until_healthy();
  EXPECT_EQ(instance.route(), "rpm");
  EXPECT_THAT(instance.history(), HasSubstr("the tag dualdeploy-route or the user data cannot be used: expected SERVICE=rpm"));
}

TEST(Ec2, TroubleOfTheMetadataServiceDisturbsNoTraffic) {
  const Instance instance("ec2trouble", Instance::Agent::installed);
  MetadataService metadata(instance);
  metadata.set("instance-id", "i-0aaaaaaaaaaaaaaaa");
  instance.write_agent_config(std::string(MetadataService::settings) + health_settings);
  instance.do_inside("systemctl start dualdeployd");
  instance.until_healthy();
  Load load(instance, Load::Kind::connection_per_request, 14);
  int flips = 0;
  for (const std::string mode : {"slow", "throttling", "error", "garbage", "drop", "flapping", "absent"}) {
    if (mode == "absent") {
      metadata.stop();
    } else {
      metadata.behave(mode);
    }
    instance.until("the trouble is known: " + mode, [&] { return text_status(instance).find("metadata service cannot be asked") != std::string::npos; });
    for (const std::string side : {"container", "rpm"}) {
      instance.flip(side);
      ++flips;
    }
    EXPECT_THAT(healthz(instance), HasSubstr("200")) << mode;
    if (mode == "absent") metadata.start();
    metadata.behave("good");
    instance.until("it is over: " + mode, [&] { return text_status(instance).find("metadata service cannot be asked") == std::string::npos; });
  }
  const Load::Report report = load.finish();
  EXPECT_EQ(report.errors, "") << report.text;
  EXPECT_THAT(text_status(instance), HasSubstr("i-0aaaaaaaaaaaaaaaa"));
  std::printf("%d flips with the metadata service in 7 kinds of trouble: %ld requests, errors: %s\n", flips, report.requests,
              report.errors.empty() ? "none" : report.errors.c_str());
}

TEST(Ec2, NoticesFailTheHealthFirstAndCountWhatIsLeft) {
  const Instance instance("ec2notice", Instance::Agent::installed);
  const MetadataService metadata(instance);
  metadata.set("instance-id", "i-0aaaaaaaaaaaaaaaa");
  metadata.set("autoscaling/target-lifecycle-state", "InService");
  instance.write_agent_config(std::string(MetadataService::settings) + health_settings);
  instance.do_inside("systemctl start dualdeployd");
  instance.until_healthy();
  EXPECT_THAT(healthz(instance), HasSubstr("ok, rpm 200"));
  const HeldConnections held("ec2notice", "192.0.2.1", 80, 7);

  metadata.set("autoscaling/target-lifecycle-state", "Terminated");
  instance.until("the health fails", [&] { return healthz(instance).find("503") != std::string::npos; });
  EXPECT_THAT(healthz(instance), HasSubstr("leaving; open connections: sample 7"));
  EXPECT_THAT(text_status(instance), AllOf(HasSubstr("LEAVING"), HasSubstr("Terminated")));
  // Nothing happens to the traffic itself.
  EXPECT_EQ(instance.answered_by(), "rpm");
  EXPECT_EQ(held.alive(), 7);
  metadata.set("autoscaling/target-lifecycle-state", "InService");
  instance.until("healthy again", [&] { return healthz(instance).find("200") != std::string::npos; });

  metadata.set("spot/instance-action", R"({"action": "terminate", "time": "2026-11-24T08:22:00Z"})");
  instance.until("the health fails", [&] { return healthz(instance).find("503") != std::string::npos; });
  EXPECT_THAT(healthz(instance, "/healthz"), HasSubstr("sample: leaving"));
  EXPECT_THAT(text_status(instance), HasSubstr("Spot: terminate at 2026-11-24T08:22:00Z"));
  metadata.behave("error");  // Silence takes nothing back.
  instance.until("the trouble is known", [&] { return text_status(instance).find("metadata service cannot be asked") != std::string::npos; });
  EXPECT_THAT(healthz(instance), HasSubstr("503"));
}

TEST(Health, TellsLoadBalancersWhatClientsSee) {
  const Instance instance("healthz", Instance::Agent::installed);
  instance.write_agent_config(health_settings);
  instance.do_inside("systemctl start dualdeployd");
  instance.until_healthy();
  EXPECT_THAT(healthz(instance), HasSubstr("ok, rpm 200"));
  instance.flip("container");
  instance.until("it is told", [&] { return healthz(instance).find("ok, container 200") != std::string::npos; });
  EXPECT_THAT(healthz(instance, "/healthz/none"), HasSubstr("404"));

  // An operator takes the instance out; a restart of the agent does not bring it back.
  EXPECT_THAT(instance.do_inside("dualctl leave --reason 'new kernel'"), HasSubstr("load balancers are told to leave"));
  EXPECT_THAT(healthz(instance), AllOf(HasSubstr("leaving"), HasSubstr("503")));
  restart_agent(instance);
  EXPECT_THAT(healthz(instance), AllOf(HasSubstr("leaving"), HasSubstr("503"), Not(HasSubstr("new kernel"))));
  EXPECT_THAT(text_status(instance), HasSubstr("new kernel"));
  instance.do_inside("dualctl join");
  EXPECT_THAT(healthz(instance), HasSubstr("200"));

  // Nobody answers at the front, and the agent can start neither side.
  instance.do_inside("systemctl mask -q --runtime --now sample; docker rmi -f dualdeploy-sample; docker rm -f dualdeploy-sample");
  instance.until("it fails", [&] { return healthz(instance).find("503") != std::string::npos; });
}

/// A shutdown begins with the health, and the front answers until load balancers have had their time.
TEST(Health, FailsBeforeTheInstanceStops) {
  const Instance instance("healthstop", Instance::Agent::installed);
  instance.write_agent_config(health_settings);
  instance.do_inside("systemctl enable sample; systemctl start dualdeployd");
  instance.until_healthy();
  // Both looked at, 50 times a second, until the front is gone. Each line: seconds, health, front.
  auto watch = std::async(std::launch::async, [&] {
    return instance.client("end=$(($(date +%s) + 90)); front=200; while [ $front = 200 ] && [ $(date +%s) -lt $end ]; do at=$(date +%s.%N); "
                           "health=$(curl -s -m 1 -o /dev/null -w '%{http_code}' http://192.0.2.1:9180/healthz/sample); "
                           "front=$(curl -s -m 1 -o /dev/null -w '%{http_code}' http://192.0.2.1/); echo $at $health $front; sleep 0.02; done");
  });
  std::this_thread::sleep_for(500ms);  // Some lines of the time before.
  instance.stop();
  const std::string seen = watch.get().output;
  double first_failure = 0;
  double last_good_front = 0;
  std::istringstream lines(seen);
  double at = 0;
  std::string health;
  std::string front;
  bool stopped = false;
  while (lines >> at >> health >> front) {
    if (health != "200" && first_failure == 0) first_failure = at;
    if (front == "200") last_good_front = at;
    stopped = front != "200";
  }
  ASSERT_TRUE(stopped) << seen;
  EXPECT_GE(last_good_front - first_failure, 1.5) << seen;  // leave_for is 2 s.
  std::printf("the health failed %.2f s before the front did\n", last_good_front - first_failure);
  instance.start();
  instance.until("healthy after the boot", [&] { return healthz(instance).find("200") != std::string::npos; });
}

/// HAProxy knows of nothing but /healthz, and does not try again: whatever it sends to an instance has to be served.
TEST(Health, RollingRebootBehindHaproxy) {
  const Instance one("lbone", Instance::Agent::installed);
  const Instance two("lbtwo", Instance::Agent::installed);
  for (const Instance* instance : {&one, &two}) {
    instance->write_agent_config(health_settings);
    instance->do_inside("systemctl enable sample; systemctl start dualdeployd");
    instance->until_healthy();
    instance->flip("container");
  }
  const Scratch scratch;
  const std::string& directory = scratch.path;
  const std::string server = " check port 9180 inter 200ms fall 2 rise 2";
  std::ofstream(directory + "/haproxy.cfg")
      << "global\n  stats socket " << directory << "/stats\ndefaults\n  mode http\n  retries 0\n  timeout connect 2s\n  timeout client 10s\n"
         "  timeout server 10s\nlisten front\n  bind 127.0.0.1:8000\n  option httpchk GET /healthz/sample\n"
         "  server one 192.0.2.1:80" << server << "\n  server two 192.0.2.1:80 namespace dd-lbtwo-cli" << server << "\n";
  const Background haproxy(one, "haproxy -f " + directory + "/haproxy.cfg", directory + "/log");
  const auto up = [&](const std::string& name) {
    return one.client("echo 'show stat' | socat - " + directory + "/stats | grep '^front," + name + ",' | grep -q ',UP,'").status == 0;
  };
  one.until("both are up", [&] { return up("one") && up("two"); });
  Load load(one, Load::Kind::connection_per_request, 30, "127.0.0.1:8000");
  for (const auto& [instance, name] : {std::pair(&one, "one"), std::pair(&two, "two")}) {
    instance->reboot();
    instance->until(std::string(name) + " is back", [&] { return up(name); });
    instance->until("its container has the traffic again", [&, chosen = instance] { return chosen->answered_by() == "container"; });
  }
  EXPECT_FALSE(load.is_over()) << "the load ended before the reboots did";
  const Load::Report report = load.finish();
  EXPECT_EQ(report.errors, "") << report.text << one.client("tail -20 " + directory + "/log").output;
  std::printf("rolling reboot of two instances behind HAProxy: %ld requests, errors: %s\n", report.requests,
              report.errors.empty() ? "none" : report.errors.c_str());
}

/// How long from power to the first answer, with the agent and without: it is in nobody's way.
TEST(Boot, TheAgentDelaysNobody) {
  const Instance instance("bootfast");
  instance.do_inside("systemctl enable sample");
  EXPECT_THAT(instance.do_inside("systemctl show -p After --value sample.service docker.service"), Not(HasSubstr("dualdeployd")));
  const auto first_answer = [&] {
    instance.stop();
    auto answered = std::async(std::launch::async, [&] {
      return instance.do_client("begin=$(date +%s%N); until curl -s -m 0.2 -o /dev/null http://192.0.2.1/; do sleep 0.005; done; "
                                "echo $((($(date +%s%N) - begin) / 1000000))");
    });
    instance.start();
    return std::stol(answered.get());
  };
  std::vector<long> with;
  std::vector<long> without;
  std::string ready;
  for (int i = 0; i < 3; ++i) {
    with.push_back(first_answer());
    ready = instance.do_inside("begin=$(systemctl show -p UserspaceTimestampMonotonic --value); "
                               "echo $((($(systemctl show -p ActiveEnterTimestampMonotonic --value dualdeployd) - begin) / 1000))");
    instance.do_inside("systemctl disable -q dualdeployd.service dualdeployd.socket");
    without.push_back(first_answer());
    instance.do_inside("systemctl enable -q dualdeployd.service dualdeployd.socket");
  }
  std::ranges::sort(with);
  std::ranges::sort(without);
  std::printf("power to the front's first answer: %ld ms with the agent, %ld ms without; the agent is ready %s", with[1], without[1],
              (ready.substr(0, ready.find('\n')) + " ms after systemd began\n").c_str());
}

/// Whatever is missing at a boot: the RPM serves, and the status says what.
TEST(Boot, WithoutDockerImageOrMetadataService) {
  const Instance instance("bootbare");
  instance.flip("container");
  instance.write_agent_config(std::string(MetadataService::settings) + health_settings);
  instance.do_inside("docker rmi -f dualdeploy-sample; systemctl disable -q docker docker.socket; systemctl mask -q docker; systemctl enable -q sample");
  instance.reboot();
  instance.until("the agent is ready", [&] { return instance.inside("systemctl is-active dualdeployd").output == "active\n"; });
  EXPECT_EQ(instance.answered_by(), "rpm");
  EXPECT_THAT(healthz(instance), HasSubstr("ok, rpm 200"));
  EXPECT_THAT(text_status(instance), AllOf(HasSubstr("the metadata service cannot be asked"), HasSubstr("docker.sock")));
}

}  // namespace
}  // namespace dualdeploy::testing
