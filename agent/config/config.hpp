#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/policy.hpp"
#include "core/types.hpp"

/// The configuration as typed values. load() is the only reader: the daemon, `check-config` and a reload use it.
namespace dualdeploy::config {

enum class Protocol : std::uint8_t { tcp, udp };
[[nodiscard]] std::string_view name_of(Protocol protocol);

/// One front port and where each side listens for it.
struct Port {
  std::uint16_t front = 0;
  std::uint16_t rpm = 0;        ///< Default: the front port itself.
  std::uint16_t container = 0;
  Protocol protocol = Protocol::tcp;
  bool operator==(const Port&) const = default;
};

/// GET `path`; good is an answer whose status is in `status` (default 200..399) and, if given, whose body contains
/// `contains`.
struct HttpCheck {
  std::uint16_t port = 0;  ///< Default: this side's first port.
  std::string path = "/";
  std::string host = "localhost";   ///< Host header.
  std::string address = "127.0.0.1";
  std::vector<int> status;  ///< Empty: 200..399.
  std::string contains;
  bool operator==(const HttpCheck&) const = default;
};
/// Good is a connection that opens.
struct TcpCheck {
  std::uint16_t port = 0;
  std::string address = "127.0.0.1";
  bool operator==(const TcpCheck&) const = default;
};
/// Good is exit status 0. Never goes through a shell.
struct ExecCheck {
  std::vector<std::string> command;
  std::string user;  ///< Empty: root.
  bool operator==(const ExecCheck&) const = default;
};

struct Check {
  std::variant<HttpCheck, TcpCheck, ExecCheck> probe = TcpCheck{};
  Milliseconds interval{1000};
  Milliseconds timeout{2000};
  bool operator==(const Check&) const = default;
};

struct RpmSide {
  std::string unit;     ///< "shop.service"
  std::string package;  ///< For `revision` (its VCS tag) and `artifact`; may be empty.
  std::vector<std::string> revision;  ///< A command whose first line of output is the revision, instead of the package's.
  Check check;
  bool operator==(const RpmSide&) const = default;
};

struct Ulimit {
  std::string name;  ///< As for docker run --ulimit, for example "nofile".
  std::int64_t soft = 0;
  std::int64_t hard = 0;
  bool operator==(const Ulimit&) const = default;
};

struct ContainerSide {
  std::string image;  ///< "shop:1.2" or "sha256:…". Never pulled.
  std::vector<std::string> command;
  std::vector<std::string> entrypoint;
  std::map<std::string, std::string> environment;
  std::vector<std::string> binds;  ///< "HOST:CONTAINER[:ro|rw|z|Z,…]"
  std::vector<std::string> tmpfs;  ///< "PATH[:OPTIONS]"
  std::vector<Ulimit> ulimits;
  std::int64_t memory_bytes = 0;  ///< 0: no limit.
  std::int64_t pids_limit = 0;    ///< 0: no limit.
  std::string user;               ///< "UID[:GID]" or a name inside the image.
  bool read_only_root = false;
  std::vector<std::string> cap_add;
  std::vector<std::string> cap_drop;
  std::vector<std::string> security_options;
  std::string log_driver;  ///< Empty: the engine's default.
  std::map<std::string, std::string> log_options;
  std::map<std::string, std::string> labels;
  bool init = false;
  Milliseconds stop_timeout{10'000};
  Check check;
  bool operator==(const ContainerSide&) const = default;
};

/// Programs around a change of the route. Each gets DUALDEPLOY_* in its environment (README).
struct Hooks {
  std::vector<std::string> before;  ///< Asked before a flip; a failure refuses it.
  std::vector<std::string> after;   ///< Told after every change of the route; a failure is recorded.
  Milliseconds timeout{30'000};
  bool operator==(const Hooks&) const = default;
};

/// What becomes of the connections that a side still has when it gets no new ones.
struct Drain {
  enum class Then : std::uint8_t {
    leave,  ///< They end when they end.
    close,  ///< After `timeout` they are closed (SOCK_DESTROY, where the kernel has it).
  };
  Milliseconds timeout{300'000};
  Then then = Then::leave;
  bool operator==(const Drain&) const = default;
};

struct Service {
  ServicePolicy policy;  ///< Name, thresholds and times: what the decisions need.
  std::vector<Port> ports;
  bool local_traffic = true;  ///< Also redirect connections made on this host.
  Hooks hooks;
  Drain drain;
  bool guard = true;          ///< Keep the container's ports dark from outside.
  RpmSide rpm;
  ContainerSide container;
  std::filesystem::path file;  ///< Where it was read from.
  bool operator==(const Service&) const = default;
};

/// The listener for load balancers.
struct Health {
  std::string listen = "off";  ///< "off" or ADDRESS:PORT.
  Milliseconds leave_for{30'000};  ///< It fails for so long before the instance stops.
  bool operator==(const Health&) const = default;
};

/// EC2's instance metadata service: which instance this is, and whether it is about to end.
struct Metadata {
  enum class Use : std::uint8_t {
    automatic,  ///< Where the firmware says that this is EC2.
    on,
    off,
  };
  Use use = Use::automatic;
  std::string endpoint = "http://169.254.169.254";
  Milliseconds timeout{1'000};   ///< Of one request.
  Milliseconds patience{5'000};  ///< How long saved state waits for the answer whose it is, in the first start of a boot.
  Milliseconds poll{5'000};      ///< Between two looks at the notices.
  bool operator==(const Metadata&) const = default;
};

enum class TrafficBackend : std::uint8_t { automatic, nftables, iptables };

struct Agent {
  std::filesystem::path state_directory = "/var/lib/dualdeploy";
  std::string docker_socket = "/var/run/docker.sock";
  TrafficBackend backend = TrafficBackend::automatic;
  Milliseconds lease{60'000};
  Milliseconds drift_check{5'000};
  std::uint32_t probe_mark = 0xdd;
  std::string probe_group = "dualdeploy-probe";
  std::string change_group = "dualdeploy";
  std::string view_group = "dualdeploy-view";
  Health health;
  Metadata metadata;
  std::string log_level = "info";  ///< trace, debug, info, warning, error
  std::int64_t history_bytes = 16 * 1024 * 1024;  ///< History kept on disk, all files together.
  bool operator==(const Agent&) const = default;
};

struct Config {
  Agent agent;
  std::vector<Service> services;  ///< In order of name.
  bool operator==(const Config&) const = default;
};

/// One thing wrong, in the form FILE:LINE:COLUMN: MESSAGE.
struct Problem {
  std::filesystem::path file;
  int line = 0;    ///< 1-based; 0 when it concerns the whole file.
  int column = 0;  ///< 1-based.
  std::string message;
  bool operator==(const Problem&) const = default;
};
[[nodiscard]] std::string describe(const Problem& problem);

inline constexpr std::string_view default_path = "/etc/dualdeploy/agent.yaml";

/// Reads the main file and every *.yaml of the directory services.d beside it. Either all is well or every problem is
/// listed, in order of file and line. A missing services.d is no services; a missing main file is a problem.
[[nodiscard]] std::expected<Config, std::vector<Problem>> load(const std::filesystem::path& main_file);

}  // namespace dualdeploy::config
