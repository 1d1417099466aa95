#include "config/schema.hpp"

namespace dualdeploy::config {

using namespace std::chrono_literals;

Agent read_agent(const Value& root) {
  Agent agent;
  if (root.node.IsNull()) return agent;  // Nothing but comments: all defaults.
  Mapping main(root);
  std::string state_directory = agent.state_directory.string();
  main.text("state_directory", state_directory, form::absolute_path);
  agent.state_directory = state_directory;
  main.choice<std::string>(
      "log_level", agent.log_level,
      {{"trace", "trace"}, {"debug", "debug"}, {"info", "info"}, {"warning", "warning"}, {"error", "error"}});
  main.duration("lease", agent.lease, 3s, 10min);
  constexpr std::int64_t kibibyte = 1024;
  main.size("history", agent.history_bytes, 64 * kibibyte, kibibyte * kibibyte * kibibyte);
  if (auto docker = main.section("docker")) {
    docker->text("socket", agent.docker_socket, form::socket_path);
    docker->finish();
  }
  if (auto traffic = main.section("traffic")) {
    traffic->choice<TrafficBackend>(
        "backend", agent.backend,
        {{"auto", TrafficBackend::automatic}, {"nftables", TrafficBackend::nftables}, {"iptables", TrafficBackend::iptables}});
    traffic->duration("drift_check", agent.drift_check, 100ms, 1h);
    traffic->finish();
  }
  if (auto probes = main.section("probes")) {
    probes->integer<std::uint32_t>("mark", agent.probe_mark, 1, std::numeric_limits<std::uint32_t>::max());
    probes->text("group", agent.probe_group, form::group);
    probes->finish();
  }
  if (auto access = main.section("access")) {
    access->text("change_group", agent.change_group, form::group);
    access->text("view_group", agent.view_group, form::group);
    access->finish();
  }
  if (auto health = main.section("health")) {
    health->text("listen", agent.health.listen, form::listen);
    health->duration("leave_for", agent.health.leave_for, 0s, 10min);
    health->finish();
  }
  if (auto metadata = main.section("metadata")) {
    using Use = Metadata::Use;
    metadata->choice<Use>("use", agent.metadata.use, {{"auto", Use::automatic}, {"on", Use::on}, {"off", Use::off}});
    metadata->text("endpoint", agent.metadata.endpoint, form::http_endpoint);
    metadata->duration("timeout", agent.metadata.timeout, 100ms, 30s);
    metadata->duration("patience", agent.metadata.patience, 0s, 60s);
    metadata->duration("poll", agent.metadata.poll, 100ms, 5min);
    metadata->finish();
  }
  main.finish();
  return agent;
}

}  // namespace dualdeploy::config
