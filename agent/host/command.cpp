#include "host/command.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/channel.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "host/launch.hpp"
#include "host/process.hpp"
#include "host/spawn.hpp"

namespace dualdeploy::host {
namespace {

namespace asio = boost::asio;
namespace process = boost::process::v2;
using boost::system::error_code;

constexpr Milliseconds grace{500};     ///< Between SIGTERM and SIGKILL.
constexpr Milliseconds drain_for{100};  ///< For output of a finished program whose pipe a grandchild still holds.
constexpr int most_drains = 50;         ///< So often again, where there still is some.
constexpr std::size_t error_limit = 64 * 1024;

/// Both ends close at exec: a program started at the same time cannot hold them open (Boost.Process 1.81 makes its pipes
/// without O_CLOEXEC).
class Pipe {
 public:
  Pipe() {
    if (::pipe2(ends_.data(), O_CLOEXEC) != 0) ends_ = {-1, -1};
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    for (const int end : ends_) {
      if (end >= 0) ::close(end);
    }
  }
  [[nodiscard]] bool open() const { return ends_[0] >= 0; }
  [[nodiscard]] int reader() const { return ends_[0]; }
  [[nodiscard]] int writer() const { return ends_[1]; }
  int take_reader() { return std::exchange(ends_[0], -1); }
  int take_writer() { return std::exchange(ends_[1], -1); }

 private:
  std::array<int, 2> ends_{-1, -1};
};

/// One program on its way to its end, shared by the coroutines that serve it.
struct Run {
  using Done = asio::experimental::channel<void(error_code)>;
  using Process = process::basic_process<asio::any_io_executor>;

  Run(const asio::any_io_executor& executor, Pipe& in, Pipe& out, Pipe& err)
      : input(executor, in.take_writer()), output(executor, out.take_reader()), error(executor, err.take_reader()),
        timer(executor), streams_done(executor, 2) {}

  asio::posix::stream_descriptor input;
  asio::posix::stream_descriptor output;
  asio::posix::stream_descriptor error;
  asio::steady_timer timer;
  Done streams_done;  ///< One message for each output stream that ended.
  std::string to_write;
  CommandResult result;
};

/// write(2), without the signal for a pipe that nobody reads: a program that ends before it has read all must not end us,
/// whether or not our process ignores SIGPIPE (systemd's services do, `dualctl` does not).
ssize_t write_quietly(int descriptor, std::string_view data) {
  sigset_t broken_pipe;
  sigset_t before;
  ::sigemptyset(&broken_pipe);
  ::sigaddset(&broken_pipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &broken_pipe, &before);
  const ssize_t count = ::write(descriptor, data.data(), data.size());
  const int reason = errno;
  const timespec at_once{};
  if (count < 0 && reason == EPIPE) (void)::sigtimedwait(&broken_pipe, nullptr, &at_once);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = reason;
  return count;
}

asio::awaitable<void> feed(std::shared_ptr<Run> run) {
  error_code failed;
  run->input.native_non_blocking(true, failed);
  std::string_view left = run->to_write;
  while (!left.empty() && !failed) {
    const ssize_t count = write_quietly(run->input.native_handle(), left);
    if (count >= 0) {
      left.remove_prefix(static_cast<std::size_t>(count));
    } else if (errno == EAGAIN) {
      co_await run->input.async_wait(asio::posix::descriptor_base::wait_write,
                                     asio::redirect_error(asio::use_awaitable, failed));
    } else if (errno != EINTR) {
      break;  // A program that does not read its input is no error.
    }
  }
  error_code ignored;
  run->input.close(ignored);
}

asio::awaitable<void> collect(std::shared_ptr<Run> run, asio::posix::stream_descriptor& stream, std::string& into,
                              std::size_t limit, bool* cut) {
  std::array<char, 16 * 1024> buffer;
  for (;;) {
    error_code failed;
    const std::size_t count =
        co_await stream.async_read_some(asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, failed));
    if (failed) break;
    const std::size_t room = limit - std::min(limit, into.size());
    into.append(buffer.data(), std::min(count, room));
    if (count > room && cut != nullptr) *cut = true;  // Read on: the program must not block on a full pipe.
  }
  run->streams_done.try_send(error_code{});
}

std::optional<std::string> found_on_path(const std::string& program) {
  for (const char* directory : {"/usr/local/sbin/", "/usr/local/bin/", "/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"}) {
    std::string candidate = directory + program;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return std::nullopt;
}

/// Ends the program's whole group when the deadline passes. `over` is set by the main coroutine.
struct Deadline {
  bool passed = false;
  bool over = false;
};

asio::awaitable<void> enforce(std::shared_ptr<Run> run, std::shared_ptr<Deadline> deadline, pid_t group,
                              Milliseconds after) {
  error_code cancelled;
  run->timer.expires_after(after);
  co_await run->timer.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
  if (deadline->over) co_return;
  deadline->passed = true;
  ::kill(-group, SIGTERM);
  run->timer.expires_after(grace);
  co_await run->timer.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
  if (!deadline->over) ::kill(-group, SIGKILL);
}

asio::awaitable<void> wait_for_streams(std::shared_ptr<Run> run) {
  for (int stream = 0; stream < 2; ++stream) {
    error_code closed;
    co_await run->streams_done.async_receive(asio::redirect_error(asio::use_awaitable, closed));
  }
}

bool holds_output(asio::posix::stream_descriptor& stream) {
  int bytes = 0;
  return stream.is_open() && ::ioctl(stream.native_handle(), FIONREAD, &bytes) == 0 && bytes > 0;
}

/// What the program has written is read even by a loop that is slow to come to it.
void close_later(const std::shared_ptr<Run>& run, int drains = most_drains) {
  run->timer.expires_after(drain_for);
  run->timer.async_wait([run, drains](const error_code& cancelled) {
    if (cancelled) return;
    if (drains > 0 && (holds_output(run->output) || holds_output(run->error))) {
      close_later(run, drains - 1);
      return;
    }
    error_code ignored;
    run->output.close(ignored);
    run->error.close(ignored);
  });
}

}  // namespace

bool is_installed(const std::string& program) { return found_on_path(program).has_value(); }

asio::awaitable<Expected<CommandResult>> run_command(Command command, CommandLimits limits) {
  if (command.argv.empty()) co_return fail(ErrorCode::usage, "there is no program to run");
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  Pipe in;
  Pipe out;
  Pipe err;
  if (!in.open() || !out.open() || !err.open()) co_return fail_errno("cannot make a pipe", errno);
  const std::string& named = command.argv.front();
  // A name that is nowhere is left as it is: starting it fails with the error that says so.
  Launch what{.program = named.find('/') != std::string::npos ? named : found_on_path(named).value_or(named),
              .arguments = {command.argv.begin() + 1, command.argv.end()},
              .environment = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C"},
              .in = in.reader(),
              .out = out.writer(),
              .err = err.writer(),
              .uid = command.uid,
              .gid = command.gid};
  for (std::string& variable : command.environment) what.environment.push_back(std::move(variable));
  const auto started = launch(what);
  if (!started) co_return std::unexpected(started.error());
  const pid_t pid = *started;
  const std::string program = std::move(what.program);
  Run::Process child(executor, pid);
  if (command.on_start) command.on_start(pid);

  const auto run = std::make_shared<Run>(executor, in, out, err);
  ::close(in.take_reader());
  ::close(out.take_writer());
  ::close(err.take_writer());
  run->to_write = std::move(command.input);
  spawn(executor, "program input", feed(run));
  spawn(executor, "program output", collect(run, run->output, run->result.output, limits.output_bytes, &run->result.output_cut));
  spawn(executor, "program errors", collect(run, run->error, run->result.error, error_limit, nullptr));
  const auto deadline = std::make_shared<Deadline>();
  spawn(executor, "program deadline", enforce(run, deadline, pid, limits.deadline));

  error_code wait_failed;
  co_await child.async_wait(asio::redirect_error(asio::use_awaitable, wait_failed));
  deadline->over = true;
  run->timer.cancel();
  const int status = child.native_exit_code();
  if (deadline->passed || wait_failed) ::kill(-pid, SIGKILL);  // What it left behind in its group.
  if (wait_failed) {  // Its end is not known: the handle's destructor ends and reaps it.
    error_code ignored;
    run->output.close(ignored);
    run->error.close(ignored);
    run->input.close(ignored);
    co_return fail("cannot wait for " + program + ": " + wait_failed.message());
  }
  close_later(run);
  co_await wait_for_streams(run);
  run->timer.cancel();
  error_code ignored;
  run->input.close(ignored);
  if (deadline->passed) {
    co_return fail(ErrorCode::timed_out, program + " did not end within " + format_duration(limits.deadline));
  }
  constexpr int signal_base = 128;
  run->result.exit_status = WIFSIGNALED(status) ? signal_base + WTERMSIG(status) : WEXITSTATUS(status);
  co_return std::move(run->result);
}

}  // namespace dualdeploy::host
