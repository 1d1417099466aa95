#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "workload/engine_client.hpp"

/// What a container engine's answers say. Pure; whatever an engine sends is read or is an error.
namespace dualdeploy::workload {

struct Answer {
  unsigned status = 0;
  std::string body;
  std::string api_version;  ///< The header of that name.
};

/// The versions 1.N that an engine speaks.
struct Versions {
  std::optional<int> newest;  ///< Nothing: it does not say.
  int oldest = 0;
};
/// Of the answers to /_ping and /version.
[[nodiscard]] Expected<Versions> read_versions(const Answer& pong, const Answer& version);

/// Of the answers to an inspection; nothing: there is none.
[[nodiscard]] Expected<std::optional<EngineClient::Image>> read_image(const Answer& answer);
[[nodiscard]] Expected<std::optional<EngineClient::Container>> read_container(const Answer& answer);

/// What an answer that is a refusal says: {"message": "…"} since API 1.24, plain text before.
[[nodiscard]] Error refusal(const Answer& answer);

/// The event stream, as it comes in: chunks are not messages, events are lines.
class EventLines {
 public:
  /// Of a line, without its end.
  static constexpr std::size_t limit = 64 * 1024;

  /// Tells of each event that is complete with these bytes; what is no event is passed over. False: the line that has not
  /// ended yet is longer than the limit.
  [[nodiscard]] bool take(std::string_view bytes, const EngineClient::OnEvent& on_event);

 private:
  std::string rest_;
};

}  // namespace dualdeploy::workload
