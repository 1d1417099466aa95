#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "config/config_directory.hpp"

namespace dualdeploy::config {
namespace {

using namespace std::chrono_literals;
using Lines = std::vector<std::string>;

constexpr std::string_view smallest_service =
    "ports: [{front: 80, container: 8080}]\n"
    "rpm: {unit: shop.service}\n"
    "container: {image: 'shop:1'}\n";

TEST(Load, TakesAnEmptyMainFileForTheDefaults) {
  const ConfigDirectory directory;
  const auto config = directory.load();
  ASSERT_TRUE(config);
  EXPECT_EQ(*config, Config{});
}

TEST(Load, DoesNotNeedServicesD) {
  const ConfigDirectory directory;
  std::filesystem::remove(directory.path("services.d"));
  EXPECT_EQ(directory.problems(), Lines{});
}

TEST(Load, ReadsEveryKeyOfTheMainFile) {
  const ConfigDirectory directory;
  directory.write("agent.yaml",
                  "state_directory: /srv/dualdeploy\n"
                  "log_level: debug\n"
                  "lease: 5m\n"
                  "history: 1m\n"
                  "docker: {socket: /run/podman/podman.sock}\n"
                  "traffic: {backend: nftables, drift_check: 500ms}\n"
                  "health: {listen: '[::]:9180', leave_for: 1m}\n"
                  "metadata: {use: on, endpoint: 'http://[fd00:ec2::254]', timeout: 2s, patience: 0s, poll: 1s}\n"
                  "probes: {mark: 0xffffffff, group: probes}\n"
                  "access: {change_group: operators, view_group: '1000'}\n");
  const auto config = directory.load();
  ASSERT_TRUE(config);
  const Agent expected{.state_directory = "/srv/dualdeploy",
                       .docker_socket = "/run/podman/podman.sock",
                       .backend = TrafficBackend::nftables,
                       .lease = 5min,
                       .drift_check = 500ms,
                       .probe_mark = 0xffffffff,
                       .probe_group = "probes",
                       .change_group = "operators",
                       .view_group = "1000",
                       .health = {.listen = "[::]:9180", .leave_for = 1min},
                       .metadata = {.use = Metadata::Use::on,
                                    .endpoint = "http://[fd00:ec2::254]",
                                    .timeout = 2s,
                                    .patience = 0s,
                                    .poll = 1s},
                       .log_level = "debug",
                       .history_bytes = 1024 * 1024};
  EXPECT_EQ(config->agent, expected);
}

TEST(Load, GivesAServiceItsDefaults) {
  const ConfigDirectory directory;
  directory.write("services.d/shop.yaml", smallest_service);
  const auto config = directory.load();
  ASSERT_TRUE(config);
  Service expected;
  expected.policy.name = "shop";
  expected.ports = {{.front = 80, .rpm = 80, .container = 8080}};
  expected.rpm.unit = "shop.service";
  expected.rpm.check.probe = TcpCheck{.port = 80};
  expected.container.image = "shop:1";
  expected.container.check.probe = TcpCheck{.port = 8080};
  expected.file = directory.path("services.d/shop.yaml");
  EXPECT_EQ(config->services, std::vector{expected});
}

constexpr std::string_view full_service = R"(
name: web-1
initial: container
ports:
  - {front: 80, container: 8080, rpm: 8000, protocol: tcp}
  - {front: 443, container: 8443}
traffic: {local: false, guard: false}
bake: 1m
rpm:
  unit: web@1.service
  package: web
  check:
    http: {port: 9000, path: '/healthz?full=1', host: web.example, address: '::1', status: [200, 204], contains: ok}
    interval: 500ms
    timeout: 5m
  rise: 1
  fall: 100
  start_period: 0s
  restart: {delay: 2s, delay_max: 3s, limit: 4, reset: 5s, rest: 6s}
container:
  image: registry.example:5000/web/web:1.2
  command: [--port, 8080, ""]
  entrypoint: [/usr/bin/web]
  env: {MODE: production, EMPTY: "", NUMBER: 7}
  binds: ["/etc/web:/etc/web:ro,Z", "/srv:/srv"]
  tmpfs: ["/tmp", "/run:size=64m,mode=1777"]
  ulimits: {nofile: 65536, core: {soft: 0, hard: -1}}
  memory: 512MiB
  pids: 100
  user: web:1000
  read_only: true
  cap_add: [NET_BIND_SERVICE, CAP_CHOWN]
  cap_drop: [ALL]
  security_opt: [no-new-privileges, "label=disable"]
  log: {driver: journald, options: {tag: web}}
  labels: {team: payments}
  init: true
  stop_timeout: 0s
  check:
    exec: {command: [/usr/bin/web-check, --quiet], user: web}
  rise: 5
)";

Service expected_full_service(const std::filesystem::path& file) {
  Service service;
  service.policy.name = "web-1";
  service.policy.initial = Side::container;
  service.policy.bake = 1min;
  service.policy.sides[Side::rpm] = {.rise = 1,
                                     .fall = 100,
                                     .start_period = 0s,
                                     .restart_delay = 2s,
                                     .restart_delay_max = 3s,
                                     .restart_limit = 4,
                                     .restart_reset = 5s,
                                     .restart_rest = 6s};
  service.policy.sides[Side::container].rise = 5;
  service.ports = {{.front = 80, .rpm = 8000, .container = 8080},
                   {.front = 443, .rpm = 443, .container = 8443}};
  service.local_traffic = false;
  service.guard = false;
  service.rpm = {.unit = "web@1.service",
                 .package = "web",
                 .check = {.probe = HttpCheck{.port = 9000,
                                              .path = "/healthz?full=1",
                                              .host = "web.example",
                                              .address = "::1",
                                              .status = {200, 204},
                                              .contains = "ok"},
                           .interval = 500ms,
                           .timeout = 5min}};
  service.container = {
      .image = "registry.example:5000/web/web:1.2",
      .command = {"--port", "8080", ""},
      .entrypoint = {"/usr/bin/web"},
      .environment = {{"MODE", "production"}, {"EMPTY", ""}, {"NUMBER", "7"}},
      .binds = {"/etc/web:/etc/web:ro,Z", "/srv:/srv"},
      .tmpfs = {"/tmp", "/run:size=64m,mode=1777"},
      .ulimits = {{"core", 0, -1}, {"nofile", 65536, 65536}},
      .memory_bytes = 512 * 1024 * 1024,
      .pids_limit = 100,
      .user = "web:1000",
      .read_only_root = true,
      .cap_add = {"NET_BIND_SERVICE", "CAP_CHOWN"},
      .cap_drop = {"ALL"},
      .security_options = {"no-new-privileges", "label=disable"},
      .log_driver = "journald",
      .log_options = {{"tag", "web"}},
      .labels = {{"team", "payments"}},
      .init = true,
      .stop_timeout = 0s,
      .check = {.probe = ExecCheck{.command = {"/usr/bin/web-check", "--quiet"}, .user = "web"}}};
  service.file = file;
  return service;
}

TEST(Load, ReadsEveryKeyOfAService) {
  const ConfigDirectory directory;
  directory.write("services.d/other.yaml", full_service);
  EXPECT_EQ(directory.problems(), Lines{});
  const auto config = directory.load();
  ASSERT_TRUE(config);
  ASSERT_EQ(config->services.size(), 1u);
  EXPECT_EQ(config->services[0], expected_full_service(directory.path("services.d/other.yaml")));
}

TEST(Load, SortsServicesByNameNotByFile) {
  const ConfigDirectory directory;
  directory.write("services.d/a.yaml", "name: zoo\n" + std::string(smallest_service));
  directory.write("services.d/b.yaml",
                  "name: ape\nports: [{front: 81, container: 8081}]\n"
                  "rpm: {unit: ape.service}\ncontainer: {image: ape}\n");
  const auto config = directory.load();
  ASSERT_TRUE(config);
  ASSERT_EQ(config->services.size(), 2u);
  EXPECT_EQ(config->services[0].policy.name, "ape");
  EXPECT_EQ(config->services[1].policy.name, "zoo");
}

TEST(Load, ReadsOnlyYamlFilesThatAreNotHidden) {
  const ConfigDirectory directory;
  for (const char* name : {"shop.yaml.sample", "shop.yml", ".shop.yaml", "shop.yaml~", "shop.yaml.rpmnew"}) {
    directory.write("services.d/" + std::string(name), "nonsense");
  }
  EXPECT_EQ(directory.problems(), Lines{});
}

TEST(Load, FollowsAnchors) {
  const ConfigDirectory directory;
  directory.write("services.d/shop.yaml",
                  "ports: [{front: 80, container: 8080}]\n"
                  "rpm: {unit: shop.service, check: &check {http: {path: /healthz}}}\n"
                  "container: {image: shop, check: *check}\n");
  const auto config = directory.load();
  ASSERT_TRUE(config);
  EXPECT_EQ(std::get<HttpCheck>(config->services[0].container.check.probe).port, 8080);
  EXPECT_EQ(std::get<HttpCheck>(config->services[0].rpm.check.probe).port, 80);
}

TEST(Load, SaysThatTheMainFileIsMissing) {
  const ConfigDirectory directory;
  std::filesystem::remove(directory.path("agent.yaml"));
  directory.write("services.d/shop.yaml", "");
  EXPECT_EQ(
      directory.problems(),
      (Lines{
          "agent.yaml: cannot be read: No such file or directory",
          "services.d/shop.yaml: empty; expected a service with at least 'ports', 'rpm' and 'container'"}));
}

TEST(Load, SaysWhatCannotBeRead) {
  const ConfigDirectory directory;
  std::filesystem::create_directory(directory.path("services.d/directory.yaml"));
  std::filesystem::create_symlink("nowhere", directory.path("services.d/dangling.yaml"));
  ASSERT_EQ(::mkfifo(directory.path("services.d/fifo.yaml").c_str(), 0600), 0) << std::strerror(errno);
  EXPECT_EQ(directory.problems(),
            (Lines{"services.d/dangling.yaml: cannot be read: No such file or directory",
                   "services.d/directory.yaml: cannot be read: Is a directory",
                   "services.d/fifo.yaml: cannot be read: expected a regular file"}));
}

TEST(Load, SaysThatServicesDIsNotADirectory) {
  const ConfigDirectory directory;
  std::filesystem::remove(directory.path("services.d"));
  directory.write("services.d", "");
  EXPECT_EQ(directory.problems(), Lines{"services.d: cannot be listed: Not a directory"});
}

TEST(Load, TakesTheNameFromTheFile) {
  const ConfigDirectory directory;
  directory.write("services.d/My Shop.yaml", smallest_service);
  EXPECT_EQ(
      directory.problems(),
      Lines{"services.d/My Shop.yaml: the file's name is the service's unless 'name' says otherwise: "
            "expected 1 "
            "to 32 of a-z, 0-9 and '-', not beginning with '-' (and not the reserved 'all'), got 'My Shop'"});
}

TEST(Load, RefusesALargeFile) {
  const ConfigDirectory directory;
  const std::string comment = "# 34567890123456\n";  // 17 bytes
  std::string text;
  while (text.size() + comment.size() <= 1024 * 1024) text += comment;
  directory.write("agent.yaml", text);
  EXPECT_EQ(directory.problems(), Lines{});
  directory.write("agent.yaml", text + comment);
  EXPECT_EQ(directory.problems(), Lines{"agent.yaml: larger than 1MiB; expected a configuration file"});
}

TEST(Load, ListsABoundedNumberOfProblems) {
  const ConfigDirectory directory;
  std::string text;
  for (int index = 0; index < 1000; ++index) text += "key" + std::to_string(index) + ": 1\n";
  directory.write("agent.yaml", text);
  const Lines lines = directory.problems();
  ASSERT_EQ(lines.size(), 101u);
  EXPECT_EQ(lines[0], "agent.yaml: more than 100 problems; these are the first found");
}

TEST(Load, RefusesTooManyServices) {
  const ConfigDirectory directory;
  for (int index = 0; index < 1025; ++index)
    directory.write("services.d/s" + std::to_string(index) + ".yaml", "");
  EXPECT_EQ(directory.problems(), Lines{"services.d: expected at most 1024 services, got 1025"});
}

TEST(Load, RefusesTooManyEntries) {
  const ConfigDirectory directory;
  std::string text = std::string(smallest_service.substr(0, smallest_service.find("container: {image"))) +
                     "container:\n  image: shop\n  env:\n";
  for (int index = 0; index < 1001; ++index) text += "    K" + std::to_string(index) + ": 1\n";
  directory.write("services.d/shop.yaml", text);
  EXPECT_EQ(directory.problems(),
            Lines{"services.d/shop.yaml:6:5: container.env: expected at most 1000 entries, got 1001"});
}

TEST(Load, SurvivesRecursiveAliases) {
  const ConfigDirectory directory;
  directory.write("agent.yaml", "docker: &docker\n  socket: *docker\n");
  EXPECT_EQ(
      directory.problems(),
      Lines{
          "agent.yaml:1:9: docker.socket: expected the absolute path of a socket, at most 107 bytes, such as "
          "/var/run/docker.sock, got a mapping"});
}

TEST(Load, ReadsWhatIsShipped) {
  const std::filesystem::path source = DD_SOURCE_DIR;
  const ConfigDirectory directory;
  directory.copy(source / "config/agent.yaml", "agent.yaml");
  EXPECT_EQ(directory.problems(), Lines{});
  EXPECT_EQ(directory.load()->agent, Agent{});

  directory.copy(source / "config/services.d/example.yaml.sample", "services.d/example.yaml");
  EXPECT_EQ(directory.problems(), Lines{});
  std::filesystem::remove(directory.path("services.d/example.yaml"));

  directory.copy(source / "packaging/sample/sample.yaml", "services.d/sample.yaml");
  EXPECT_EQ(directory.problems(), Lines{});
  EXPECT_EQ(directory.load()->services.at(0).policy.name, "sample");
}

TEST(Load, RefusesWhatOthersMayWrite) {
  if (::geteuid() != 0) GTEST_SKIP() << "root's concern: others do not run what the configuration names";
  const ConfigDirectory directory;
  directory.write("services.d/shop.yaml", smallest_service);
  const auto problems_with = [&directory](const char* name, mode_t mode, uid_t user, gid_t group) {
    const auto path = directory.path(name);
    struct stat before {};
    EXPECT_EQ(::stat(path.c_str(), &before), 0);
    EXPECT_EQ(::chown(path.c_str(), user, group), 0);
    EXPECT_EQ(::chmod(path.c_str(), mode), 0);
    Lines lines = directory.problems();
    EXPECT_EQ(::chown(path.c_str(), before.st_uid, before.st_gid), 0);
    EXPECT_EQ(::chmod(path.c_str(), before.st_mode & 07777), 0);
    return lines;
  };
  const std::string why = "; the agent runs programs named here as root, so nobody else may write it: ";
  for (const char* name : {"agent.yaml", "services.d/shop.yaml"}) {
    EXPECT_EQ(problems_with(name, 0644, 0, 0), Lines{});
    EXPECT_EQ(problems_with(name, 0664, 0, 0), Lines{});  // root's own group.
    EXPECT_EQ(problems_with(name, 0640, 0, 54'321), Lines{});
    EXPECT_EQ(problems_with(name, 0644, 54'321, 0), Lines{name + (": belongs to user 54321" + why + "chown root")});
    EXPECT_EQ(problems_with(name, 0646, 0, 0), Lines{name + (": anybody may write it" + why + "chmod o-w")});
    EXPECT_EQ(problems_with(name, 0664, 0, 54'321), Lines{name + (": group 54321 may write it" + why + "chmod g-w")});
  }
  EXPECT_EQ(problems_with("services.d", 0777, 0, 0), Lines{"services.d: anybody may write it" + why + "chmod o-w"});
  EXPECT_EQ(problems_with("services.d", 0755, 54'321, 0), Lines{"services.d: belongs to user 54321" + why + "chown root"});
  EXPECT_EQ(problems_with("services.d", 01777, 0, 0), Lines{});  // As in /tmp: only a file's owner may replace it.
  EXPECT_THAT(problems_with(".", 0777, 0, 0), ::testing::SizeIs(1));
}

/// Every key that the shipped main file shows is one, and the value shown is the default.
TEST(Load, ReadsTheShippedMainFileWithoutItsCommentSigns) {
  std::ifstream shipped(std::filesystem::path(DD_SOURCE_DIR) / "config/agent.yaml");
  std::string text;
  int keys = 0;
  for (std::string line; std::getline(shipped, line);) {
    const auto sign = line.find('#');
    if (sign != std::string::npos && line.substr(sign + 1, 1) != " ") {
      line.erase(sign, 1);
      ++keys;
    }
    text += line + "\n";
  }
  EXPECT_EQ(keys, 24);
  const ConfigDirectory directory;
  directory.write("agent.yaml", text);
  EXPECT_EQ(directory.problems(), Lines{});
  EXPECT_EQ(directory.load()->agent, Agent{});
}

TEST(Describe, LeavesOutAPlaceThatThereIsNot) {
  EXPECT_EQ(describe({"/a.yaml", 0, 0, "empty"}), "/a.yaml: empty");
  EXPECT_EQ(describe({"/a.yaml", 3, 7, "bad"}), "/a.yaml:3:7: bad");
}

}  // namespace
}  // namespace dualdeploy::config
