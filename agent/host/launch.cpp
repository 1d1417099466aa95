#include "host/launch.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "host/descriptors.hpp"

namespace dualdeploy::host {
namespace {

/// No signal reaches this thread, nor a child that it makes meanwhile: its handler would be ours, in our memory.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

void forget_signal_handlers() {
  for (int number = 1; number < NSIG; ++number) {
    struct sigaction action {};
    const bool caught = ::sigaction(number, nullptr, &action) == 0 && action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
    if (caught || number == SIGPIPE) ::signal(number, SIG_DFL);  // systemd has its services ignore SIGPIPE.
  }
}

/// The C library's functions would have the other threads follow, which are not in this process.
bool take_identity(const Launch& what) {
  if (!what.uid && !what.gid) return true;
  if (what.uid && ::syscall(SYS_setgroups, 0, nullptr) != 0) return false;
  if (what.gid && ::syscall(SYS_setgid, *what.gid) != 0) return false;
  return !what.uid || ::syscall(SYS_setuid, *what.uid) == 0;
}

/// In the child, which has our memory: only async-signal-safe calls, and nothing is changed. What failed goes into a pipe that
/// execve() closes; through the memory it would not come back where vfork() is made to be fork(), as under valgrind.
[[noreturn, gnu::noinline]] void become(const Launch& what, char* const* arguments, char* const* environment, int failure) {
  forget_signal_handlers();
  const bool ready = ::setpgid(0, 0) == 0 && ::dup2(what.in, STDIN_FILENO) >= 0 && ::dup2(what.out, STDOUT_FILENO) >= 0 &&
                     ::dup2(what.err, STDERR_FILENO) >= 0;
  if (ready) close_at_exec();
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (ready && take_identity(what)) ::execve(what.program.c_str(), arguments, environment);
  const int error = errno;
  if (::write(failure, &error, sizeof error) != sizeof error) {}  // It ends so or so.
  ::_exit(127);
}

/// As execve(2) takes them.
std::vector<char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Expected<pid_t> launch(const Launch& what) {
  std::vector<char*> arguments = pointers_to(what.arguments);
  arguments.insert(arguments.begin(), const_cast<char*>(what.program.c_str()));
  const std::vector<char*> environment = pointers_to(what.environment);
  std::array<int, 2> failure{};
  if (::pipe2(failure.data(), O_CLOEXEC) != 0) return fail_errno("cannot make a pipe", errno);
  pid_t pid = 0;
  {
    const SignalsBlocked blocked;
    pid = ::vfork();
    if (pid == 0) become(what, arguments.data(), environment.data(), failure[1]);
  }
  int error = errno;
  ::close(failure[1]);
  if (pid < 0) {
    ::close(failure[0]);
    return fail_errno("cannot make a process", error);
  }
  ssize_t length = 0;
  do {
    length = ::read(failure[0], &error, sizeof error);
  } while (length < 0 && errno == EINTR);
  ::close(failure[0]);
  if (length != sizeof error) return pid;
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {}
  return fail_errno("cannot run " + what.program, error);
}

}  // namespace dualdeploy::host
