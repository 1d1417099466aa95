#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/json/object.hpp>
#include <memory>
#include <string>

#include "config/config.hpp"
#include "workload/engine_client.hpp"
#include "workload/workload_side.hpp"

namespace dualdeploy::workload {

/// The container side: a container named dualdeploy-SERVICE, created from an image that is on this machine already.
/// Its only supervisor is the agent (restart policy `no`). It is created anew at a start when its configuration or the
/// image behind the name has changed.
///
/// The engine's silence is not the container's death: then the state is `unknown` and the checks decide. The death of the
/// main process is seen by pidfd even while the engine is silent.
class ContainerSide final : public WorkloadSide {
 public:
  ContainerSide(boost::asio::any_io_executor executor, std::shared_ptr<EngineClient> engine, std::string service,
                config::ContainerSide config, Report report);
  ~ContainerSide() override;

  void watch() override;
  /// Only before the first report: afterwards the engine tells of a changed image by itself.
  [[nodiscard]] boost::asio::awaitable<void> refresh() override;
  [[nodiscard]] boost::asio::awaitable<Expected<void>> prepare() override;
  [[nodiscard]] boost::asio::awaitable<Expected<void>> start() override;
  [[nodiscard]] boost::asio::awaitable<Expected<void>> restart() override;
  [[nodiscard]] boost::asio::awaitable<Expected<void>> stop() override;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

/// The engine's name of a service's container.
[[nodiscard]] std::string container_name(const std::string& service);

/// The body of POST /containers/create: the configuration in the engine's words, with the labels that let a later agent
/// recognise it.
[[nodiscard]] boost::json::object create_body(const std::string& service, const config::ContainerSide& config,
                                              const std::string& image_id);

inline constexpr const char* service_label = "dualdeploy.service";
inline constexpr const char* config_label = "dualdeploy.config";

}  // namespace dualdeploy::workload
