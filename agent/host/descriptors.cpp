#include "host/descriptors.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

// Newer than the C library of CentOS 7.
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

namespace dualdeploy::host {
namespace {

constexpr unsigned first = STDERR_FILENO + 1;

/// The number a name consists of; -1 for "." and "..".
int number_of(const char* name) {
  int number = 0;
  for (; *name != '\0'; ++name) {
    if (*name < '0' || *name > '9') return -1;
    number = number * 10 + (*name - '0');
  }
  return number;
}

}  // namespace

bool close_at_exec_by_range() {
  constexpr unsigned at_exec = 1U << 2U;  // CLOSE_RANGE_CLOEXEC
  return ::syscall(SYS_close_range, first, ~0U, at_exec) == 0;
}

bool close_at_exec_by_listing() {
  const int directory = ::open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return false;
  // readdir(3) would take memory, which another thread of the parent may have been at.
  alignas(std::uint64_t) char buffer[4096];
  long length = 0;
  while ((length = ::syscall(SYS_getdents64, directory, buffer, sizeof buffer)) > 0) {
    for (long at = 0; at < length;) {
      std::uint16_t record = 0;  // struct linux_dirent64, getdents(2)
      std::memcpy(&record, buffer + at + offsetof(dirent64, d_reclen), sizeof record);
      const int descriptor = number_of(buffer + at + offsetof(dirent64, d_name));
      if (descriptor >= static_cast<int>(first)) (void)::fcntl(descriptor, F_SETFD, FD_CLOEXEC);
      at += record;
    }
  }
  ::close(directory);
  return length == 0;
}

void close_at_exec_by_limit() {
  constexpr rlim_t most = 65'536;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) limit.rlim_cur = most;
  for (rlim_t descriptor = first; descriptor < std::min(limit.rlim_cur, most); ++descriptor) {
    (void)::fcntl(static_cast<int>(descriptor), F_SETFD, FD_CLOEXEC);
  }
}

void close_at_exec() {
  if (close_at_exec_by_range() || close_at_exec_by_listing()) return;
  close_at_exec_by_limit();
}

}  // namespace dualdeploy::host
