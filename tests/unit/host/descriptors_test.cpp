#include "host/descriptors.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace dualdeploy::host {
namespace {

/// In a child: opens some without O_CLOEXEC, high and low, and says whether all of them are closed at exec afterwards.
bool closes_all(void (*close)()) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    const int low = ::open("/dev/null", O_RDONLY);
    const int high = ::fcntl(low, F_DUPFD, 900);
    close();
    const auto closed = [](int descriptor) { return (::fcntl(descriptor, F_GETFD) & FD_CLOEXEC) != 0; };
    const bool all = low > STDERR_FILENO && high >= 900 && closed(low) && closed(high) && !closed(STDERR_FILENO);
    ::_exit(all ? 0 : 1);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(Descriptors, AreClosedAtExecInEachWay) {
  EXPECT_TRUE(closes_all([] { (void)close_at_exec_by_listing(); }));
  EXPECT_TRUE(closes_all([] { close_at_exec_by_limit(); }));
  EXPECT_TRUE(closes_all([] { close_at_exec(); }));
}

}  // namespace
}  // namespace dualdeploy::host
