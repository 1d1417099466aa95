#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

/// Boost.Process v2 decides by the kernel's headers that the C library has this (glibc: since 2.34). On an old kernel it
/// fails with ENOSYS; every descriptor is closed at exec anyway (host/descriptors.hpp).
extern "C" int close_range(unsigned first, unsigned last, int flags) noexcept {
  return static_cast<int>(::syscall(SYS_close_range, first, last, flags));
}
