#include "core/error.hpp"

#include <cerrno>
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
  return std::unexpected(Error{ErrorCode::failed, std::string(what) + ": " + std::strerror(errno_value), errno_value});
}

bool is_exhaustion(int errno_value) {
  switch (errno_value) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    case EAGAIN:         // fork(2): no process left.
    case EADDRNOTAVAIL:  // connect(2): no port left.
      return true;
    default: return false;
  }
}

}  // namespace dualdeploy
