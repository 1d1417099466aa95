#include "core/error.hpp"

#include <cstring>

namespace dualdeploy {

std::string_view name_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::failed: return "failed";
    case ErrorCode::usage: return "usage";
    case ErrorCode::refused: return "refused";
    case ErrorCode::permission: return "permission";
    case ErrorCode::unreachable: return "unreachable";
    case ErrorCode::timed_out: return "timed-out";
  }
  return "failed";
}

std::unexpected<Error> fail_errno(std::string_view what, int errno_value) {
  return fail(ErrorCode::failed, std::string(what) + ": " + std::strerror(errno_value));
}

}  // namespace dualdeploy
