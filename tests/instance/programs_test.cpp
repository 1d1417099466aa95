// Programs that nobody here wrote, as unit and as container, flipped all the time under load.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <future>
#include <sstream>
#include <string>

#include "instance/support/instance.hpp"
#include "instance/support/load.hpp"

namespace dualdeploy::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

/// The unit, the image and the configuration are there: the agent takes the service over.
void start_service(const Instance& instance, const std::string& name) {
  instance.do_inside("systemctl daemon-reload && systemctl reload dualdeployd");
  for (const std::string side : {"container", "rpm"}) instance.do_inside("dualctl flip " + name + " " + side + " --wait");
}

struct Flips {
  int done = 0;
  std::string refused;
};

/// There and back, until it is over; the route is then at the RPM.
Flips flip_until(const Instance& instance, const std::string& service, const std::function<bool()>& over) {
  Flips flips;
  do {
    for (const std::string side : {"container", "rpm"}) {
      const Outcome flip = instance.inside("dualctl flip " + service + " " + side);
      ++flips.done;
      if (flip.status != 0) flips.refused += flip.output;
    }
  } while (!over());
  return flips;
}

/// What a command inside prints.
long number(const Instance& instance, const std::string& command) { return std::atol(instance.do_inside(command).c_str()); }

bool is_over(const std::future<Outcome>& work) { return work.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }

// --- nginx

/// The same for both sides, but for the port and the name.
std::string nginx_configuration(const std::string& side, const std::string& port) {
  return "daemon off;\nworker_processes 2;\npid /tmp/nginx.pid;\nevents {}\nhttp {\n"
         "  access_log off;\n  sendfile on;\n"
         "  keepalive_requests 100;\n"  // Keep-alive clients come back, and so meet both sides.
         "  client_body_temp_path /tmp/body;\n  proxy_temp_path /tmp/proxy;\n  fastcgi_temp_path /tmp/fastcgi;\n"
         "  uwsgi_temp_path /tmp/uwsgi;\n  scgi_temp_path /tmp/scgi;\n"
         "  server {\n    listen " + port + ";\n    listen [::]:" + port + ";\n    root /srv/dd-nginx/files;\n"
         "    add_header X-Side " + side + ";\n"
         "    location = / { return 200 'hello from " + side + "\\n'; }\n"
         "    location = /counters { stub_status; }\n  }\n}\n";
}

void deploy_nginx(const Instance& instance) {
  instance.do_inside("mkdir -p /srv/dd-nginx/files && head -c 64M /dev/urandom > /srv/dd-nginx/files/big");
  instance.write("/srv/dd-nginx/rpm.conf", nginx_configuration("rpm", "81"));
  instance.write("/srv/dd-nginx/container.conf", nginx_configuration("container", "8081"));
  instance.write("/etc/systemd/system/dd-nginx.service",
                 "[Service]\nExecStart=/usr/sbin/nginx -e stderr -c /srv/dd-nginx/rpm.conf\nUser=www-data\n"
                 "AmbientCapabilities=CAP_NET_BIND_SERVICE\nPrivateTmp=yes\n");
  instance.build_image("/usr/sbin/nginx", "dd-nginx");
  instance.write("/etc/dualdeploy/services.d/nginx.yaml",
                 "ports: [{front: 81, container: 8081}]\n"
                 "parity: false\nrpm:\n  unit: dd-nginx.service\n  check: {http: {path: /, contains: from rpm}, interval: 500ms}\n"
                 "container:\n  image: dd-nginx\n  command: [-e, stderr, -c, /srv/dd-nginx/container.conf]\n"
                 "  binds: ['/srv/dd-nginx:/srv/dd-nginx:ro']\n  tmpfs: [/tmp]\n  read_only: true\n"
                 "  user: '33:33'\n  cap_drop: [ALL]\n  ulimits: {nofile: 4096}\n"
                 "  check: {http: {path: /, contains: from container}, interval: 500ms}\n");
  start_service(instance, "nginx");
}

/// The file again and again, a connection each, too slow for a flip to miss; prints "SIDE CHECKSUM  -" each.
std::future<Outcome> download(const Instance& instance, const std::string& host, int times) {
  const std::string command = "for i in $(seq " + std::to_string(times) + "); do curl -sSf -m 120 --limit-rate 48M " +
                              "-w '%{stderr}%header{x-side} ' http://" + host + "/big | sha256sum; done";
  return std::async(std::launch::async, [&instance, command] { return instance.client(command); });
}

long nginx_requests(const Instance& instance, const std::string& port) {
  return number(instance, "curl -s http://127.0.0.1:" + port + "/counters | awk 'NR == 3 { print $3 }'");
}

/// \returns how many downloads were complete and right.
int right_downloads(const std::string& text, const std::string& checksum) {
  int right = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) right += line == "rpm " + checksum || line == "container " + checksum ? 1 : 0;
  return right;
}

TEST(Programs, NginxFlippedUnderKeepAliveAndLargeBodies) {
  const Instance instance("prognginx");
  deploy_nginx(instance);
  const std::string printed = instance.do_inside("sha256sum < /srv/dd-nginx/files/big");
  const std::string checksum = printed.substr(0, printed.find('\n'));
  const std::string v4 = "192.0.2.1:81";
  const std::string v6 = "[2001:db8::1]:81";
  const int times = 8;

  Load load4(instance, Load::Kind::keep_alive, 12, v4);
  Load load6(instance, Load::Kind::keep_alive, 12, v6);
  std::future<Outcome> downloads4 = download(instance, v4, times);
  std::future<Outcome> downloads6 = download(instance, v6, times);
  const Flips flips = flip_until(instance, "nginx", [&] {
    return load4.is_over() && load6.is_over() && is_over(downloads4) && is_over(downloads6);
  });

  EXPECT_EQ(flips.refused, "");
  EXPECT_THAT(instance.history(), Not(HasSubstr("auto-revert")));
  long requests = 0;
  for (Load* load : {&load4, &load6}) {
    const Load::Report report = load->finish();
    EXPECT_EQ(report.errors, "") << report.text;
    EXPECT_GT(report.requests, 1'000) << report.text;
    requests += report.requests;
  }
  int right = 0;
  for (std::future<Outcome>* downloads : {&downloads4, &downloads6}) {
    const std::string text = downloads->get().output;
    const int here = right_downloads(text, checksum);
    EXPECT_EQ(here, times) << text << "wanted: " << checksum;
    right += here;
  }
  const long by_rpm = nginx_requests(instance, "81");  // The route is at the RPM again.
  const long by_container = nginx_requests(instance, "8081");
  EXPECT_GT(by_rpm, 1'000);  // Checks are some dozens.
  EXPECT_GT(by_container, 1'000);
  EXPECT_GE(by_rpm + by_container, requests + right);
  std::printf("nginx: %d flips, %ld requests (by the RPM %ld, by the container %ld), %d downloads of 64 MiB right\n", flips.done,
              requests, by_rpm, by_container, right);
}

// --- redis

void deploy_redis(const Instance& instance) {
  instance.write("/etc/systemd/system/dd-redis.service",
                 "[Service]\nExecStart=/usr/bin/redis-server --port 6379 --protected-mode no --save ''\nUser=redis\n");
  instance.build_image("/usr/bin/redis-server", "dd-redis");
  instance.write("/etc/dualdeploy/services.d/redis.yaml",
                 "ports: [{front: 6379, container: 6380}]\n"
                 "parity: false\nrpm:\n  unit: dd-redis.service\n"
                 "  check: {exec: {command: [/usr/bin/redis-cli, -p, '6379', ping]}, interval: 500ms}\n"
                 "container:\n  image: dd-redis\n  command: [--port, '6380', --protected-mode, 'no', --save, '']\n"
                 "  read_only: true\n  user: '65534:65534'\n  cap_drop: [ALL]\n  ulimits: {nofile: 4096}\n"
                 "  check: {tcp: {port: 6380}, interval: 500ms}\n");
  start_service(instance, "redis");
}

long redis_counter(const Instance& instance, const std::string& port, const std::string& name) {
  return number(instance, "redis-cli -p " + port + " info stats | tr -d '\\r' | sed -n 's/^" + name + "://p'");
}

/// Four tests a run: PING in two ways, SET and GET. Ends at the first error.
constexpr int benchmark_rounds = 3;
constexpr int kept_requests = 20'000;
constexpr int single_requests = 2'000;  // A connection each; a client has some 64,000 ports.
constexpr long benchmark_requests = 4L * benchmark_rounds * (kept_requests + single_requests);

std::future<Outcome> benchmark(const Instance& instance, const std::string& host) {
  const std::string run = "redis-benchmark -h " + host + " -t ping,set,get -c 20 --csv -n ";
  const std::string command = "set -e; for i in $(seq " + std::to_string(benchmark_rounds) + "); do " + run +
                              std::to_string(kept_requests) + "; " + run + std::to_string(single_requests) + " -k 0; done";
  return std::async(std::launch::async, [&instance, command] { return instance.client(command); });
}

TEST(Programs, RedisFlippedUnderItsOwnBenchmark) {
  const Instance instance("progredis");
  deploy_redis(instance);
  std::future<Outcome> benchmark4 = benchmark(instance, "192.0.2.1");
  std::future<Outcome> benchmark6 = benchmark(instance, "2001:db8::1");
  const Flips flips = flip_until(instance, "redis", [&] { return is_over(benchmark4) && is_over(benchmark6); });

  EXPECT_EQ(flips.refused, "");
  EXPECT_THAT(instance.history(), Not(HasSubstr("auto-revert")));
  for (std::future<Outcome>* run : {&benchmark4, &benchmark6}) {
    const Outcome outcome = run->get();
    EXPECT_EQ(outcome.status, 0) << outcome.output;
    EXPECT_THAT(outcome.output, Not(ContainsRegex("[Ee]rror|ERR|Could not")));
  }
  const long by_rpm = redis_counter(instance, "6379", "total_connections_received");  // The route is at the RPM again.
  const long by_container = redis_counter(instance, "6380", "total_connections_received");
  EXPECT_GT(by_rpm, 1'000);  // Checks are some dozens.
  EXPECT_GT(by_container, 1'000);
  const long requests = redis_counter(instance, "6379", "total_commands_processed") +
                        redis_counter(instance, "6380", "total_commands_processed");
  EXPECT_GE(requests, 2 * benchmark_requests);
  std::printf("redis: %d flips, %ld requests, %ld connections (to the RPM %ld, to the container %ld)\n", flips.done, requests,
              by_rpm + by_container, by_rpm, by_container);
}

}  // namespace
}  // namespace dualdeploy::testing
