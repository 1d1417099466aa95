// Where the compiler's stand-in for glibc 2.17 and glibc itself differ. Linked into every program for CentOS 7.
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

extern "C" {

// Before 2.33 stat() and its like are no functions of the shared library but of a piece that is linked statically, and the
// compiler's piece leaves errno unset: a file that is not there would look like anything else. These are what the shared
// library has (glibc, sysdeps/unix/sysv/linux/x86/bits/stat.h).
constexpr int stat_version = 1;
int __xstat(int version, const char* path, struct stat* into);
int __lxstat(int version, const char* path, struct stat* into);
int __fxstat(int version, int descriptor, struct stat* into);
int __fxstatat(int version, int directory, const char* path, struct stat* into, int flags);

int stat(const char* path, struct stat* into) noexcept { return __xstat(stat_version, path, into); }
int lstat(const char* path, struct stat* into) noexcept { return __lxstat(stat_version, path, into); }
int fstat(int descriptor, struct stat* into) noexcept { return __fxstat(stat_version, descriptor, into); }
int fstatat(int directory, const char* path, struct stat* into, int flags) noexcept {
  return __fxstatat(stat_version, directory, path, into, flags);
}
// The same on a machine of 64 bits.
int stat64(const char* path, struct stat64* into) noexcept {
  return __xstat(stat_version, path, reinterpret_cast<struct stat*>(into));
}
int lstat64(const char* path, struct stat64* into) noexcept {
  return __lxstat(stat_version, path, reinterpret_cast<struct stat*>(into));
}
int fstat64(int descriptor, struct stat64* into) noexcept {
  return __fxstat(stat_version, descriptor, reinterpret_cast<struct stat*>(into));
}
int fstatat64(int directory, const char* path, struct stat64* into, int flags) noexcept {
  return __fxstatat(stat_version, directory, path, reinterpret_cast<struct stat*>(into), flags);
}

/// Boost.Process v2 decides by the kernel's headers that the C library has this (glibc: since 2.34). On an old kernel it
/// fails with ENOSYS; every descriptor is closed at exec anyway (host/descriptors.hpp).
int close_range(unsigned first, unsigned last, int flags) noexcept {
  return static_cast<int>(::syscall(SYS_close_range, first, last, flags));
}

}  // extern "C"
