#include <gtest/gtest.h>

#include "config/config_directory.hpp"

namespace dualdeploy::config {
namespace {

/// Configurations that are wrong, and every line said about them.
struct BadConfig {
  const char* name;
  std::string main;     ///< agent.yaml
  const char* service;  ///< services.d/shop.yaml, if not null.
  const char* other;    ///< services.d/tail.yaml, if not null.
  std::vector<std::string> problems;
};

void PrintTo(const BadConfig& config, std::ostream* out) {
  *out << config.name;
}

const std::vector<BadConfig>& bad_configs() {
  static const std::vector<BadConfig> table{
      {"MainNotAMapping", "- lease\n", nullptr, nullptr, {"agent.yaml:1:1: expected a mapping, got a list"}},
      {"MainUnknownKey",
       "leese: 60s\n",
       nullptr,
       nullptr,
       {"agent.yaml:1:1: unknown key 'leese'; did you mean 'lease'?"}},
      {"MainUnknownKeyFarFromAny",
       "colour: red\n",
       nullptr,
       nullptr,
       {"agent.yaml:1:1: unknown key 'colour'; expected one of state_directory, log_level, lease, history, "
        "docker, traffic, probes, access, health, metadata"}},
      {"MainDuplicateKey",
       "lease: 60s\n"
       "log_level: info\n"
       "lease: 30s\n",
       nullptr,
       nullptr,
       {"agent.yaml:3:1: key 'lease' appears twice; the first is in line 1"}},
      {"LeaseTooShort",
       "lease: 1s\n",
       nullptr,
       nullptr,
       {"agent.yaml:1:8: lease: expected a duration from 3s to 10m, such as 30s, got '1s'"}},
      {"LeaseWithoutUnit",
       "lease: 60\n",
       nullptr,
       nullptr,
       {"agent.yaml:1:8: lease: expected a duration from 3s to 10m, such as 30s, got '60'"}},
      {"LogLevel",
       "log_level: verbose\n",
       nullptr,
       nullptr,
       {"agent.yaml:1:12: log_level: expected trace or debug or info or warning or error, got 'verbose'"}},
      {"HealthListensOnANameOrAPortAlone",
       "health: {listen: localhost:9180}\n",
       nullptr,
       nullptr,
       {"agent.yaml:1:18: health.listen: expected off, or an address and a port, such as 127.0.0.1:9180, "
        "0.0.0.0:9180 or [::]:9180, got 'localhost:9180'"}},
      {"HealthPortOutOfRange",
       "health: {listen: 127.0.0.1:70000}\n",
       nullptr,
       nullptr,
       {"agent.yaml:1:18: health.listen: expected off, or an address and a port, such as 127.0.0.1:9180, "
        "0.0.0.0:9180 or [::]:9180, got '127.0.0.1:70000'"}},
      {"MetadataEndpoint",
       "metadata: {endpoint: 'https://169.254.169.254', use: maybe}\n",
       nullptr,
       nullptr,
       {"agent.yaml:1:22: metadata.endpoint: expected http:// with an address and maybe a port, such as "
        "http://169.254.169.254, got 'https://169.254.169.254'",
        "agent.yaml:1:54: metadata.use: expected auto or on or off, got 'maybe'"}},
      {"HistoryTooSmall",
       "history: 1KiB\n",
       nullptr,
       nullptr,
       {"agent.yaml:1:10: history: expected a size from 64KiB to 1GiB, such as 16MiB, got '1KiB'"}},
      {"HistoryNotASize",
       "history: much\n",
       nullptr,
       nullptr,
       {"agent.yaml:1:10: history: expected a size from 64KiB to 1GiB, such as 16MiB, got 'much'"}},
      {"StateDirectoryRelative",
       "state_directory: var/lib/dualdeploy\n",
       nullptr,
       nullptr,
       {"agent.yaml:1:18: state_directory: expected an absolute path without '..', got "
        "'var/lib/dualdeploy'"}},
      {"SocketRelative",
       "docker:\n"
       "  socket: docker.sock\n",
       nullptr,
       nullptr,
       {"agent.yaml:2:11: docker.socket: expected the absolute path of a socket, at most 107 bytes, such as "
        "/var/run/docker.sock, got 'docker.sock'"}},
      {"SocketTooLong",
       "docker: {socket: "
       "/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
       "xxxxxxx}\n",
       nullptr,
       nullptr,
       {"agent.yaml:1:18: docker.socket: expected the absolute path of a socket, at most 107 bytes, such as "
        "/var/run/docker.sock, got "
        "'/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...'"}},
      {"SectionEmpty",
       "docker:\n",
       nullptr,
       nullptr,
       {"agent.yaml:1:1: docker: expected a mapping, got nothing"}},
      {"Backend",
       "traffic: {backend: ipvs}\n",
       nullptr,
       nullptr,
       {"agent.yaml:1:20: traffic.backend: expected auto or nftables or iptables, got 'ipvs'"}},
      {"DriftCheckTooLong",
       "traffic: {drift_check: 2h}\n",
       nullptr,
       nullptr,
       {"agent.yaml:1:24: traffic.drift_check: expected a duration from 100ms to 1h, such as 500ms, got "
        "'2h'"}},
      {"MarkZero",
       "probes: {mark: 0}\n",
       nullptr,
       nullptr,
       {"agent.yaml:1:16: probes.mark: expected a whole number from 1 to 4294967295, got '0'"}},
      {"MarkTooLarge",
       "probes: {mark: 0x100000000}\n",
       nullptr,
       nullptr,
       {"agent.yaml:1:16: probes.mark: expected a whole number from 1 to 4294967295, got '0x100000000'"}},
      {"GroupWithSpace",
       "access: {change_group: the admins}\n",
       nullptr,
       nullptr,
       {"agent.yaml:1:24: access.change_group: expected a group's name or number, got 'the admins'"}},
      {"Syntax",
       "lease: [60s\n",
       nullptr,
       nullptr,
       {"agent.yaml:2:1: not valid YAML: end of sequence flow not found"}},
      {"TwoDocuments",
       "lease: 60s\n"
       "---\n"
       "lease: 30s\n",
       nullptr,
       nullptr,
       {"agent.yaml:2:1: a second YAML document; expected one in a file"}},
      {"StrayComma", ",\n", nullptr, nullptr, {"agent.yaml:1:1: not valid YAML: unexpected here"}},
      {"StrayBracket",
       "lease: 60s\n"
       "]\n",
       nullptr,
       nullptr,
       {"agent.yaml:2:1: not valid YAML: illegal flow end"}},
      {"TextAfterTheEnd",
       "lease: 60s\n"
       "...\n"
       "lease: 30s\n",
       nullptr,
       nullptr,
       {"agent.yaml:3:1: not valid YAML: unexpected here"}},
      {"ControlCharacter",
       "lease: 60s\n"
       "log_\004level: info\n",
       nullptr,
       nullptr,
       {"agent.yaml:2:5: not a text file; expected UTF-8 without control characters"}},
      {"BrokenUtf8",
       "# caf\351\n",
       nullptr,
       nullptr,
       {"agent.yaml:1:6: not a text file; expected UTF-8 without control characters"}},
      {"UndefinedAlias",
       "lease: *nobody\n",
       nullptr,
       nullptr,
       {"agent.yaml:1:8: not valid YAML: the referenced anchor is not defined"}},
      {"KeyIsAList", "[a, b]: 1\n", nullptr, nullptr, {"agent.yaml:1:1: expected a key, got a list"}},
      {"TooDeep",
       std::string(2000, '['),
       nullptr,
       nullptr,
       {"agent.yaml:1:1: not valid YAML: nested too deeply"}},
      {"Empty",
       "",
       "",
       nullptr,
       {"services.d/shop.yaml: empty; expected a service with at least 'ports', 'rpm' and 'container'"}},
      {"OnlyComments",
       "",
       "# nothing\n",
       nullptr,
       {"services.d/shop.yaml: empty; expected a service with at least 'ports', 'rpm' and 'container'"}},
      {"ServiceNotAMapping",
       "",
       "shop\n",
       nullptr,
       {"services.d/shop.yaml:1:1: expected a mapping, got 'shop'"}},
      {"EverythingMissing",
       "",
       "name: shop\n",
       nullptr,
       {"services.d/shop.yaml:1:1: key 'ports' is missing; expected a list of 1 to 32 ports such as {front: "
        "80, container: 8080}",
        "services.d/shop.yaml:1:1: key 'rpm' is missing; expected a mapping with at least 'unit'",
        "services.d/shop.yaml:1:1: key 'container' is missing; expected a mapping with at least 'image'"}},
      {"NameWithCapitals",
       "",
       "name: Shop\n"
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:1:7: name: expected 1 to 32 of a-z, 0-9 and '-', not beginning with '-' (and "
        "not the reserved 'all'), got 'Shop'"}},
      {"NameReserved",
       "",
       "name: all\n"
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:1:7: name: expected 1 to 32 of a-z, 0-9 and '-', not beginning with '-' (and "
        "not the reserved 'all'), got 'all'"}},
      {"NameNotText",
       "",
       "name: [shop]\n"
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:1:7: name: expected 1 to 32 of a-z, 0-9 and '-', not beginning with '-' (and "
        "not the reserved 'all'), got a list"}},
      {"NameInjects",
       "",
       "name: \"shop; flush ruleset\"\n"
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:1:7: name: expected 1 to 32 of a-z, 0-9 and '-', not beginning with '-' (and "
        "not the reserved 'all'), got 'shop; flush ruleset'"}},
      {"NameTooLong",
       "",
       "name: sssssssssssssssssssssssssssssssss\n"
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:1:7: name: expected 1 to 32 of a-z, 0-9 and '-', not beginning with '-' (and "
        "not the reserved 'all'), got 'sssssssssssssssssssssssssssssssss'"}},
      {"NameNothing",
       "",
       "name:\n"
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:1:1: name: expected 1 to 32 of a-z, 0-9 and '-', not beginning with '-' (and "
        "not the reserved 'all'), got nothing"}},
      {"Initial",
       "",
       "initial: docker\n"
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:1:10: initial: expected rpm or container, got 'docker'"}},
      {"BakeTooLong",
       "",
       "bake: 25h\n"
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:1:7: bake: expected a duration from 0s to 1d, such as 500ms, got '25h'"}},
      {"TrafficFlag",
       "",
       "traffic: {guard: yes}\n"
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:1:18: traffic.guard: expected true or false, got 'yes'"}},
      {"PortsEmpty",
       "",
       "ports: []\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:1:8: ports: expected a list of 1 to 32 ports such as {front: 80, container: "
        "8080}, got 0 of them"}},
      {"PortsNotAList",
       "",
       "ports: {front: 80}\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:1:8: ports: expected a list of 1 to 32 ports such as {front: 80, container: "
        "8080}, got a mapping"}},
      {"PortNotAMapping",
       "",
       "ports: [80]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:1:9: ports[0]: expected a mapping, got '80'"}},
      {"PortZero",
       "",
       "ports: [{front: 0, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:1:17: ports[0].front: expected a whole number from 1 to 65535, got '0'"}},
      {"PortTooLarge",
       "",
       "ports: [{front: 80, container: 65536}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:1:32: ports[0].container: expected a whole number from 1 to 65535, got "
        "'65536'"}},
      {"PortNotANumber",
       "",
       "ports: [{front: http, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:1:17: ports[0].front: expected a whole number from 1 to 65535, got 'http'"}},
      {"PortWithoutContainer",
       "",
       "ports: [{front: 80}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:1:9: ports[0]: key 'container' is missing; expected the port that the "
        "container listens on"}},
      {"Protocol",
       "",
       "ports: [{front: 80, container: 8080, protocol: sctp}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:1:48: ports[0].protocol: expected tcp or udp, got 'sctp'"}},
      {"UdpCannotBeConnectedTo",
       "",
       "ports: [{front: 53, container: 5353, protocol: udp}]\n"
       "rpm: {unit: dns.service, check: {tcp: {}}}\n"
       "container: {image: 'dns:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:39: rpm.check.tcp: key 'port' is missing; all ports of the service are UDP",
        "services.d/shop.yaml:3:12: container: all ports are UDP, which cannot be connected to; expected a 'check' with exec, "
        "or with a TCP 'port'"}},
      {"OnePortOfEachProtocol",
       "",
       "ports: [{front: 53, container: 5353}, {front: 53, container: 5353, protocol: udp},\n"
       "        {front: 53, container: 5354, protocol: udp}]\n"
       "rpm: {unit: dns.service}\n"
       "container: {image: 'dns:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:17: ports[2].front: port 53 is already the front port of ports[1]; expected a port that "
        "nothing else uses"}},
      {"TooManyPorts",
       "",
       "ports: [{front: 100, container: 200}, {front: 101, container: 201}, {front: 102, container: 202}, "
       "{front: 103, container: 203}, {front: 104, container: 204}, {front: 105, container: 205}, {front: "
       "106, container: 206}, {front: 107, container: 207}, {front: 108, container: 208}, {front: 109, "
       "container: 209}, {front: 110, container: 210}, {front: 111, container: 211}, {front: 112, container: "
       "212}, {front: 113, container: 213}, {front: 114, container: 214}, {front: 115, container: 215}, "
       "{front: 116, container: 216}, {front: 117, container: 217}, {front: 118, container: 218}, {front: "
       "119, container: 219}, {front: 120, container: 220}, {front: 121, container: 221}, {front: 122, "
       "container: 222}, {front: 123, container: 223}, {front: 124, container: 224}, {front: 125, container: "
       "225}, {front: 126, container: 226}, {front: 127, container: 227}, {front: 128, container: 228}, "
       "{front: 129, container: 229}, {front: 130, container: 230}, {front: 131, container: 231}, {front: "
       "132, container: 232}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:1:8: ports: expected a list of 1 to 32 ports such as {front: 80, container: "
        "8080}, got 33 of them"}},
      {"ContainerPortIsFront",
       "",
       "ports: [{front: 80, container: 80}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:1:32: ports[0].container: port 80 is already the front port of ports[0]; "
        "expected a port that nothing else uses"}},
      {"ContainerPortIsRpm",
       "",
       "ports: [{front: 80, container: 8080, rpm: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:1:32: ports[0].container: port 8080 is already the rpm port of ports[0]; "
        "expected a port that nothing else uses"}},
      {"ContainerPortIsFrontOfAnotherEntry",
       "",
       "ports:\n"
       "  - {front: 80, container: 8080}\n"
       "  - {front: 8080, container: 8081}\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:3:13: ports[1].front: port 8080 is already the container port of ports[0]; "
        "expected a port that nothing else uses"}},
      {"FrontTwice",
       "",
       "ports:\n"
       "  - {front: 80, container: 8080}\n"
       "  - {front: 80, container: 8081}\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:3:13: ports[1].front: port 80 is already the front port of ports[0]; expected "
        "a port that nothing else uses"}},
      {"UnitMissing",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {package: shop}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:6: rpm: key 'unit' is missing; expected a unit's name that ends in .service, "
        "such as shop.service"}},
      {"UnitWithPath",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: /lib/shop.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:13: rpm.unit: expected a unit's name that ends in .service, such as "
        "shop.service, got '/lib/shop.service'"}},
      {"UnitNotAService",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.timer}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:13: rpm.unit: expected a unit's name that ends in .service, such as "
        "shop.service, got 'shop.timer'"}},
      {"UnitTemplate",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop@.service}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:13: rpm.unit: expected a unit's name that ends in .service, such as "
        "shop.service, got 'shop@.service'"}},
      {"UnitIsAList",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: [shop.service]}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:13: rpm.unit: expected a unit's name that ends in .service, such as "
        "shop.service, got a list"}},
      {"Package",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, package: shop;reboot}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:36: rpm.package: expected an RPM package's name, such as shop, got "
        "'shop;reboot'"}},
      {"RiseZero",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, rise: 0}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:33: rpm.rise: expected a whole number from 1 to 100, got '0'"}},
      {"FallTooLarge",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, fall: 101}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:33: rpm.fall: expected a whole number from 1 to 100, got '101'"}},
      {"StartPeriodTooLong",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, start_period: 2h}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:41: rpm.start_period: expected a duration from 0s to 1h, such as 500ms, got "
        "'2h'"}},
      {"RestartDelays",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, restart: {delay: 2m, delay_max: 1m}}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:36: rpm.restart: 'delay_max' is 1m; expected at least 'delay', which is 2m"}},
      {"RestartLimit",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, restart: {limit: none}}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:44: rpm.restart.limit: expected a whole number from 1 to 1000, got 'none'"}},
      {"CheckOfNothing",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, check: {interval: 1s}}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:34: rpm.check: expected exactly one of http, tcp and exec, got none"}},
      {"CheckOfTwo",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, check: {tcp: {}, http: {}}}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:34: rpm.check: expected exactly one of http, tcp and exec, got 2"}},
      {"IntervalTooShort",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, check: {tcp: {}, interval: 50ms}}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:54: rpm.check.interval: expected a duration from 100ms to 1h, such as 500ms, "
        "got '50ms'"}},
      {"TimeoutTooLong",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, check: {tcp: {}, timeout: 6m}}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:53: rpm.check.timeout: expected a duration from 10ms to 5m, such as 500ms, "
        "got '6m'"}},
      {"AddressIsAName",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, check: {tcp: {address: localhost}}}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:50: rpm.check.tcp.address: expected an IPv4 or IPv6 address, such as "
        "127.0.0.1 or ::1, got 'localhost'"}},
      {"CheckPortOfTheOtherSide",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, check: {http: {port: 8080}}}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:48: rpm.check.http.port: port 8080 answers for the other side; expected a "
        "port of this one"}},
      {"ContainerCheckThroughTheFront",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', check: {tcp: {port: 80}}}\n",
       nullptr,
       {"services.d/shop.yaml:3:50: container.check.tcp.port: port 80 answers for the other side; expected a "
        "port of this one"}},
      {"HttpPathRelative",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, check: {http: {path: healthz}}}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:48: rpm.check.http.path: expected a path that begins with '/', without "
        "spaces, such as /healthz, got 'healthz'"}},
      {"HttpPathWithSpace",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, check: {http: {path: '/health z'}}}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:48: rpm.check.http.path: expected a path that begins with '/', without "
        "spaces, such as /healthz, got '/health z'"}},
      {"HttpHostWithLineBreak",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, check: {http: {host: \"shop\\r\\nX-Evil: 1\"}}}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:48: rpm.check.http.host: expected a host name or address, such as "
        "shop.example or localhost:8080, got 'shop\\x0d\\x0aX-Evil: 1'"}},
      {"HttpStatus",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, check: {http: {status: [200, 99]}}}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:56: rpm.check.http.status[1]: expected a whole number from 100 to 599, got "
        "'99'"}},
      {"HttpStatusEmpty",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, check: {http: {status: []}}}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:50: rpm.check.http.status: expected an HTTP status or a list of 1 to 100, "
        "such as [200, 204], got 0 of them"}},
      {"HttpContainsNothing",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, check: {http: {contains: ''}}}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:52: rpm.check.http.contains: expected 1 to 4096 bytes of text on one line, "
        "got ''"}},
      {"ExecRelative",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, check: {exec: {command: [shop-check]}}}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:52: rpm.check.exec.command[0]: expected an absolute path without '..', got "
        "'shop-check'"}},
      {"ExecString",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, check: {exec: {command: /bin/true}}}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:51: rpm.check.exec.command: expected a list: a program's absolute path, then "
        "its arguments, got '/bin/true'"}},
      {"ExecWithoutCommand",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, check: {exec: {user: shop}}}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:41: rpm.check.exec: key 'command' is missing; expected a list: a program's "
        "absolute path, then its arguments"}},
      {"ExecUser",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service, check: {exec: {command: [/bin/true], user: \"a b\"}}}\n"
       "container: {image: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:2:70: rpm.check.exec.user: expected a user's name or number, got 'a b'"}},
      {"ImageMissing",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {imagee: 'shop:1'}\n",
       nullptr,
       {"services.d/shop.yaml:3:12: container: key 'image' is missing; expected an image's name, such as "
        "shop:1.2, or its id, sha256:...",
        "services.d/shop.yaml:3:13: unknown key 'imagee'; did you mean 'image'?"}},
      {"Image",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop 1'}\n",
       nullptr,
       {"services.d/shop.yaml:3:20: container.image: expected an image's name, such as shop:1.2, or its id, "
        "sha256:..., got 'shop 1'"}},
      {"ImageNothing",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: }\n",
       nullptr,
       {"services.d/shop.yaml:3:13: container.image: expected an image's name, such as shop:1.2, or its id, "
        "sha256:..., got nothing"}},
      {"CommandString",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', command: --port 8080}\n",
       nullptr,
       {"services.d/shop.yaml:3:39: container.command: expected a list of at most 1000 texts, got '--port "
        "8080'"}},
      {"CommandNul",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', command: [\"a\\0b\"]}\n",
       nullptr,
       {"services.d/shop.yaml:3:40: container.command[0]: expected text without a NUL, got 'a\\x00b'"}},
      {"EnvironmentName",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', env: {1ST: x}}\n",
       nullptr,
       {"services.d/shop.yaml:3:36: container.env: expected a variable's name of letters, digits, '_', '.' "
        "and '-', not beginning with a digit, got '1ST'"}},
      {"EnvironmentList",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', env: [A=1]}\n",
       nullptr,
       {"services.d/shop.yaml:3:35: container.env: expected a mapping, got a list"}},
      {"EnvironmentNothing",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', env: {A: }}\n",
       nullptr,
       {"services.d/shop.yaml:3:36: container.env.A: expected text without a NUL, got nothing"}},
      {"BindRelative",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', binds: ['data:/data']}\n",
       nullptr,
       {"services.d/shop.yaml:3:38: container.binds[0]: expected /host/path:/container/path[:options], "
        "options such as ro, got 'data:/data'"}},
      {"BindOptions",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', binds: ['/data:/data:readonly']}\n",
       nullptr,
       {"services.d/shop.yaml:3:38: container.binds[0]: expected /host/path:/container/path[:options], "
        "options such as ro, got '/data:/data:readonly'"}},
      {"BindWithoutTarget",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', binds: [/data]}\n",
       nullptr,
       {"services.d/shop.yaml:3:38: container.binds[0]: expected /host/path:/container/path[:options], "
        "options such as ro, got '/data'"}},
      {"Tmpfs",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', tmpfs: [tmp]}\n",
       nullptr,
       {"services.d/shop.yaml:3:38: container.tmpfs[0]: expected /container/path[:options], options such as "
        "size=64m, got 'tmp'"}},
      {"UlimitName",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', ulimits: {files: 1}}\n",
       nullptr,
       {"services.d/shop.yaml:3:40: container.ulimits: expected a limit's name, such as nofile, nproc, "
        "memlock or core, got 'files'"}},
      {"UlimitSoftAboveHard",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', ulimits: {nofile: {soft: 2, hard: 1}}}\n",
       nullptr,
       {"services.d/shop.yaml:3:48: container.ulimits.nofile: 'soft' is 2; expected at most 'hard', which is "
        "1"}},
      {"UlimitHalf",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', ulimits: {nofile: {soft: 2}}}\n",
       nullptr,
       {"services.d/shop.yaml:3:48: container.ulimits.nofile: key 'hard' is missing; expected a whole "
        "number, -1 for no limit"}},
      {"MemoryTooSmall",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', memory: 1MiB}\n",
       nullptr,
       {"services.d/shop.yaml:3:38: container.memory: expected a size from 6MiB to 16384GiB, such as 16MiB, "
        "got '1MiB'"}},
      {"MemoryUnit",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', memory: 512MB}\n",
       nullptr,
       {"services.d/shop.yaml:3:38: container.memory: expected a size from 6MiB to 16384GiB, such as 16MiB, "
        "got '512MB'"}},
      {"Pids",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', pids: -1}\n",
       nullptr,
       {"services.d/shop.yaml:3:36: container.pids: expected a whole number from 1 to 4194304, got '-1'"}},
      {"User",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', user: '1000:1000:1000'}\n",
       nullptr,
       {"services.d/shop.yaml:3:36: container.user: expected a user's name or number, and after ':' a "
        "group's, such as 1000:1000, got '1000:1000:1000'"}},
      {"ReadOnly",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', read_only: 'on'}\n",
       nullptr,
       {"services.d/shop.yaml:3:41: container.read_only: expected true or false, got 'on'"}},
      {"Capability",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', cap_add: [net_bind_service]}\n",
       nullptr,
       {"services.d/shop.yaml:3:40: container.cap_add[0]: expected a capability in capitals, such as ALL or "
        "NET_BIND_SERVICE, got 'net_bind_service'"}},
      {"SecurityOption",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', security_opt: ['no new privileges']}\n",
       nullptr,
       {"services.d/shop.yaml:3:45: container.security_opt[0]: expected an option such as no-new-privileges "
        "or label=disable, got 'no new privileges'"}},
      {"LogDriver",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', log: {driver: 'json file'}}\n",
       nullptr,
       {"services.d/shop.yaml:3:44: container.log.driver: expected a log driver's name, such as journald or "
        "json-file, got 'json file'"}},
      {"LabelReserved",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', labels: {dualdeploy.service: shop}}\n",
       nullptr,
       {"services.d/shop.yaml:3:39: container.labels: expected a label's name without spaces or '=', not "
        "beginning with the reserved 'dualdeploy.', got 'dualdeploy.service'"}},
      {"StopTimeout",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', stop_timeout: 11m}\n",
       nullptr,
       {"services.d/shop.yaml:3:44: container.stop_timeout: expected a duration from 0s to 10m, such as "
        "500ms, got '11m'"}},
      {"ImageId",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', image_id: 'sha256:12'}\n",
       nullptr,
       {"services.d/shop.yaml:3:40: container.image_id: expected an image's id, sha256: and 64 hexadecimal digits, got "
        "'sha256:12'"}},
      {"Standby",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', standby: hot}\n",
       nullptr,
       {"services.d/shop.yaml:3:39: container.standby: expected warm or cold, got 'hot'"}},
      {"HookIsNoShellLine",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n"
       "hooks: {before: 'logger hello', after: [logger, hello], timeout: 1h}\n"
       "rpm_unhealthy: panic\n"
       "parity: off\n",
       nullptr,
       {"services.d/shop.yaml:4:17: hooks.before: expected a list: a program's absolute path, then its arguments, got "
        "'logger hello'",
        "services.d/shop.yaml:4:41: hooks.after[0]: expected an absolute path without '..', got 'logger'",
        "services.d/shop.yaml:4:66: hooks.timeout: expected a duration from 100ms to 10m, such as 500ms, got '1h'",
        "services.d/shop.yaml:5:16: rpm_unhealthy: expected stay or failover, got 'panic'",
        "services.d/shop.yaml:6:9: parity: expected true or false, got 'off'"}},
      {"DuplicateKeyInSection",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container:\n"
       "  image: shop:1\n"
       "  init: true\n"
       "  image: shop:2\n",
       nullptr,
       {"services.d/shop.yaml:6:3: key 'image' appears twice; the first is in line 4"}},
      {"DuplicateEnvironment",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1', env: {A: 1, A: 2}}\n",
       nullptr,
       {"services.d/shop.yaml:3:42: key 'A' appears twice; the first is in line 3"}},
      {"TwoServicesOneName",
       "",
       "name: shop\n"
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       "name: shop\n"
       "ports: [{front: 81, container: 8081}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       {"services.d/tail.yaml:1:7: name: 'shop' is already the service in services.d/shop.yaml; expected a "
        "name that nothing else uses"}},
      {"TwoServicesOneFront",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       "ports: [{front: 80, container: 8081}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       {"services.d/tail.yaml:1:17: ports[0].front: port 80 is already the front port of the service in "
        "services.d/shop.yaml; expected a port that nothing else uses"}},
      {"TwoServicesOneContainerPort",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       "ports: [{front: 81, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       {"services.d/tail.yaml:1:32: ports[0].container: port 8080 is already the container port of the "
        "service in services.d/shop.yaml; expected a port that nothing else uses"}},
      {"TwoServicesOneRpmPort",
       "",
       "ports: [{front: 80, rpm: 8000, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       "ports: [{front: 81, rpm: 8000, container: 8081}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       {"services.d/tail.yaml:1:26: ports[0].rpm: port 8000 is already the rpm port of the service in "
        "services.d/shop.yaml; expected a port that nothing else uses"}},
      {"FrontIsAnothersContainerPort",
       "",
       "ports: [{front: 80, container: 8080}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       "ports: [{front: 8080, container: 8081}]\n"
       "rpm: {unit: shop.service}\n"
       "container: {image: 'shop:1'}\n",
       {"services.d/tail.yaml:1:17: ports[0].front: port 8080 is already the container port of the service "
        "in services.d/shop.yaml; expected a port that nothing else uses"}},
      {"AllProblemsInOrder",
       "",
       "bake: 99h\n"
       "ports:\n"
       "  - {front: 0, container: 8080}\n"
       "rpm:\n"
       "  rise: 0\n"
       "  unit: shop\n"
       "extra: 1\n",
       "- shop\n",
       {"services.d/shop.yaml:1:1: key 'container' is missing; expected a mapping with at least 'image'",
        "services.d/shop.yaml:1:7: bake: expected a duration from 0s to 1d, such as 500ms, got '99h'",
        "services.d/shop.yaml:3:13: ports[0].front: expected a whole number from 1 to 65535, got '0'",
        "services.d/shop.yaml:5:9: rpm.rise: expected a whole number from 1 to 100, got '0'",
        "services.d/shop.yaml:6:9: rpm.unit: expected a unit's name that ends in .service, such as "
        "shop.service, got 'shop'",
        "services.d/shop.yaml:7:1: unknown key 'extra'; expected one of name, initial, strategy, handover_deadline, ports, traffic, bake, "
        "parity, proof, rpm_unhealthy, hooks, drain, "
        "rpm, container",
        "services.d/tail.yaml:1:1: expected a mapping, got a list"}},
  };
  return table;
}

class LoadBad : public testing::TestWithParam<BadConfig> {};

TEST_P(LoadBad, ListsEveryProblemWithItsPlace) {
  const ConfigDirectory directory;
  const BadConfig& bad = GetParam();
  directory.write("agent.yaml", bad.main);
  if (bad.service != nullptr) directory.write("services.d/shop.yaml", bad.service);
  if (bad.other != nullptr) directory.write("services.d/tail.yaml", bad.other);
  EXPECT_EQ(directory.problems(), bad.problems);
}

INSTANTIATE_TEST_SUITE_P(Table, LoadBad, testing::ValuesIn(bad_configs()),
                         [](const testing::TestParamInfo<BadConfig>& tested) { return tested.param.name; });

}  // namespace
}  // namespace dualdeploy::config
