// Shares of the route: drawn, sticky, testers.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <thread>

#include "instance/support/instance.hpp"

namespace dualdeploy::testing {
namespace {

struct Shares {
  long rpm = 0;
  long container = 0;
  std::string errors;
};

/// Connections of the client host for so many seconds, one request each; who answered.
Shares count_answers(const Instance& instance, int seconds) {
  const std::string script =
      "local threads = {}\n"
      "function setup(thread) table.insert(threads, thread) end\n"
      "function init() rpm = 0; container = 0 end\n"
      "function response(status, headers) if headers['X-Side'] == 'container' then container = container + 1 else rpm = rpm + 1 end end\n"
      "function done()\n"
      "  for _, t in ipairs(threads) do print('answers ' .. t:get('rpm') .. ' ' .. t:get('container')) end\n"
      "end\n";
  const std::string command = "script=$(mktemp); printf %s " + quoted(script) + " > $script; wrk -t1 -c16 --timeout 5s -d" +
                              std::to_string(seconds) + " -s $script -H 'Connection: close' http://192.0.2.1/; rm $script";
  const std::string output = instance.do_client(command);
  Shares shares;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string first;
    if (words >> first; first == "answers") words >> shares.rpm >> shares.container;
    if (line.find("Socket errors") != std::string::npos || line.find("Non-2xx") != std::string::npos) shares.errors += line;
  }
  return shares;
}

/// A second service that is flipped all the time, for as long as this lives.
class OtherFlips {
 public:
  explicit OtherFlips(const Instance& instance) : instance_(instance) {
    instance.write("/run/systemd/system/other.service", "[Service]\nExecStart=/usr/bin/dualdeploy-sample --port 81 --side rpm\n");
    instance.write("/etc/dualdeploy/services.d/other.yaml",
                   "ports: [{front: 81, container: 8181}]\nparity: false\nrpm: {unit: other.service}\n"
                   "container: {image: dualdeploy-sample, command: [--port, '8181', --side, container]}\n");
    instance.do_inside("systemctl daemon-reload && systemctl reload dualdeployd && dualctl flip other container --wait");
    thread_ = std::thread([this] {
      while (!over_) {
        for (const char* side : {"rpm", "container"}) {
          const Outcome flip = instance_.inside(std::string("dualctl flip other ") + side);
          EXPECT_EQ(flip.status, 0) << flip.output << instance_.inside("dualctl history other --all | tail -n 20").output;
          ++flips;
        }
      }
    });
  }
  ~OtherFlips() {
    over_ = true;
    thread_.join();
  }
  std::atomic<int> flips = 0;

 private:
  const Instance& instance_;
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

TEST(Canary, SharesAreWhatWasAskedFor) {
  const Instance instance("canshare");
  const OtherFlips others(instance);
  long total = 0;
  for (const int percent : {1, 5, 25, 50}) {
    instance.do_inside("dualctl flip sample container --wait --percent " + std::to_string(percent));
    Shares sum;
    // As many connections as make 200,000 in all, however fast the machine.
    while (sum.rpm + sum.container < 50'000) {
      const Shares shares = count_answers(instance, 2);
      ASSERT_EQ(shares.errors, "");
      ASSERT_GT(shares.rpm + shares.container, 0);
      sum.rpm += shares.rpm;
      sum.container += shares.container;
    }
    const auto n = static_cast<double>(sum.rpm + sum.container);
    const double p = percent / 100.0;
    const double deviation = (static_cast<double>(sum.container) - n * p) / std::sqrt(n * p * (1 - p));
    std::printf("%2d %%: %ld of %.0f connections, %+.2f standard deviations\n", percent, sum.container, n, deviation);
    EXPECT_LT(std::abs(deviation), 6) << percent << " %";
    total += sum.rpm + sum.container;
  }
  std::printf("%ld connections, %d flips of another service meanwhile\n", total, others.flips.load());
  EXPECT_GE(total, 200'000);
}

/// Who answers each client address, asked once from each.
std::map<std::string, std::string> sides_of(const Instance& instance, const std::vector<std::string>& addresses) {
  std::string script;
  for (const std::string& address : addresses) {
    const bool v6 = address.find(':') != std::string::npos;
    script += "echo \"" + address + " $(curl -s -m 5 --interface " + address + " 'http://" + (v6 ? "[2001:db8::1]" : "192.0.2.1") +
              "/')\";";
  }
  std::map<std::string, std::string> sides;
  std::istringstream lines(instance.do_client(script));
  for (std::string line; std::getline(lines, line);) {
    const std::size_t space = line.find(' ');
    if (space != std::string::npos) sides[line.substr(0, space)] = line.substr(space + 1);
  }
  return sides;
}

std::set<std::string> on_container(const std::map<std::string, std::string>& sides) {
  std::set<std::string> addresses;
  for (const auto& [address, answer] : sides) {
    EXPECT_THAT(answer, ::testing::AnyOf("hello from rpm", "hello from container")) << address;
    if (answer == "hello from container") addresses.insert(address);
  }
  return addresses;
}

TEST(Canary, StickyClientsStayAndOnlyEverMoveToTheContainer) {
  const Instance instance("cansticky");
  const OtherFlips others(instance);
  std::vector<std::string> addresses;
  std::string add;
  for (int i = 20; i < 120; ++i) {
    addresses.push_back("192.0.2." + std::to_string(i));
    addresses.push_back("2001:db8::" + std::to_string(i));
    add += "ip addr add 192.0.2." + std::to_string(i) +
           "/24 dev $dev; ip addr add 2001:db8::" + std::to_string(i) + "/64 dev $dev nodad;";
  }
  instance.do_client("dev=$(ip -o -4 addr show to 192.0.2.2 | awk '{print $2}'); " + add);
  std::set<std::string> before;
  for (const int percent : {10, 25, 50, 90}) {
    instance.do_inside("dualctl flip sample container --wait --sticky --percent " + std::to_string(percent));
    const std::set<std::string> now = on_container(sides_of(instance, addresses));
    EXPECT_EQ(on_container(sides_of(instance, addresses)), now) << percent;  // The same clients, asked again.
    EXPECT_THAT(now, ::testing::IsSupersetOf(before)) << percent;
    std::printf("%d %%: %zu of %zu clients\n", percent, now.size(), addresses.size());
    // A hash of 200 addresses, not a draw: only far off would be wrong.
    EXPECT_NEAR(static_cast<double>(now.size()), static_cast<double>(addresses.size()) * percent / 100, 40) << percent;
    before = now;
  }
}

TEST(Canary, TestersAlwaysGetTheContainerAndNobodyElse) {
  const Instance instance("cantest");
  std::optional<OtherFlips> others(std::in_place, instance);
  instance.do_client("dev=$(ip -o -4 addr show to 192.0.2.2 | awk '{print $2}'); for i in 3 4; do ip addr add 192.0.2.$i/24 dev $dev;"
                     "ip addr add 2001:db8::$i/64 dev $dev nodad; done");
  for (const std::string route : {"rpm", "container --percent 1 --sticky"}) {
    // 192.0.2.2 and .3, 2001:db8::4 and ::5.
    instance.do_inside("dualctl flip sample " + route + " --wait --testers 192.0.2.2/31,2001:db8::4/127");
    for (int i = 0; i < 50; ++i) {
      const auto sides = sides_of(instance, {"192.0.2.2", "192.0.2.3", "2001:db8::4"});
      EXPECT_EQ(on_container(sides).size(), 3U) << route;
    }
    if (route != "rpm") continue;
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(on_container(sides_of(instance, {"192.0.2.4", "2001:db8::3"})).size(), 0U);
    }
  }
  others.reset();  // A flip under way when the agent is killed would rightly fail.
  // An agent that starts again reads shares and testers back from the kernel.
  const std::string before = instance.route();
  EXPECT_EQ(before, "container 1% sticky, testers 192.0.2.2/31 2001:db8::4/127");
  instance.do_inside("systemctl kill -s KILL --kill-who=main dualdeployd");
  instance.until("another agent has adopted the route", [&] { return instance.history().find("adopt") != std::string::npos; });
  EXPECT_THAT(instance.do_inside("dualctl status sample"), ::testing::HasSubstr(before));
}

}  // namespace
}  // namespace dualdeploy::testing
