#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace dualdeploy {

/// Why something did not happen. The numbers are `dualctl`'s exit codes.
enum class ErrorCode {
  failed = 1,       ///< Tried and failed; nothing changed.
  usage = 2,        ///< The request or the configuration is not understood.
  refused = 3,      ///< A guard said no: unhealthy, held, another change in progress.
  permission = 4,   ///< The caller may not do this.
  unreachable = 5,  ///< The agent (or the engine, or the bus) does not answer.
  timed_out = 6,    ///< The deadline passed first.
};

/// The stable name of a code in JSON, for example "refused".
[[nodiscard]] std::string_view name_of(ErrorCode code);

/// The one error type. `message` says what, why and, where there is something to do, what to do. Context is added in
/// front on the way up; it is printed once, at the edge.
struct Error {
  ErrorCode code = ErrorCode::failed;
  std::string message;
  int system_error = 0;  ///< errno(3), where the operating system said no; else 0.

  [[nodiscard]] Error within(std::string_view context) && {
    message.insert(0, ": ");
    message.insert(0, context);
    return std::move(*this);
  }
  bool operator==(const Error&) const = default;
};

template <class T>
using Expected = std::expected<T, Error>;

[[nodiscard]] inline std::unexpected<Error> fail(ErrorCode code, std::string message) {
  return std::unexpected(Error{code, std::move(message)});
}
[[nodiscard]] inline std::unexpected<Error> fail(std::string message) {
  return std::unexpected(Error{ErrorCode::failed, std::move(message)});
}
/// An error of the operating system: "TEXT: strerror(errno_value)".
[[nodiscard]] std::unexpected<Error> fail_errno(std::string_view what, int errno_value);

/// Whether an errno means that this process or machine has run out of descriptors, memory, ports or processes.
[[nodiscard]] bool is_exhaustion(int errno_value);

}  // namespace dualdeploy
