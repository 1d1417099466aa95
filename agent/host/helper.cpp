#include "host/helper.hpp"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/json.hpp>
#include <cerrno>
#include <cstdlib>

#include "host/text.hpp"

namespace dualdeploy::host {

namespace asio = boost::asio;
namespace json = boost::json;
using boost::system::error_code;
using Local = asio::local::stream_protocol;

namespace {

/// Beyond a program's own deadline: its end by force, and the way there and back.
constexpr Milliseconds margin{5'000};
constexpr timeval patience{2, 0};

std::unexpected<Error> silent(const std::string& what) {
  return fail("dualdeploy-helper does not answer (" + what + "); systemctl status dualdeploy-helper.socket dualdeploy-helper");
}

json::array texts(const std::vector<std::string>& list) {
  json::array array;
  for (const std::string& text : list) array.emplace_back(text);
  return array;
}

std::vector<std::string> texts_in(const json::object& object, std::string_view member) {
  std::vector<std::string> list;
  const json::value* value = object.if_contains(member);
  if (value == nullptr || !value->is_array()) return list;
  for (const json::value& text : value->get_array()) {
    if (text.is_string()) list.emplace_back(text.get_string());
  }
  return list;
}

std::optional<std::int64_t> number_in(const json::object& object, std::string_view member) {
  const json::value* value = object.if_contains(member);
  return value != nullptr && value->is_int64() ? std::optional(value->get_int64()) : std::nullopt;
}

/// A unix socket with a deadline for each call.
class Blocking {
 public:
  explicit Blocking(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    (void)::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) failed_ = errno;
  }
  Blocking(const Blocking&) = delete;
  Blocking& operator=(const Blocking&) = delete;
  ~Blocking() { ::close(fd_); }

  [[nodiscard]] int failed() const { return failed_; }
  bool send(const std::string& line) { return ::send(fd_, line.data(), line.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(line.size()); }
  std::string receive_line() {
    std::string line;
    std::array<char, 4096> buffer{};
    while (line.size() < helper_message::limit_bytes && !line.ends_with('\n')) {
      const ssize_t count = ::recv(fd_, buffer.data(), buffer.size(), 0);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) break;
      line.append(buffer.data(), static_cast<std::size_t>(count));
    }
    return line;
  }

 private:
  int fd_;
  int failed_ = 0;
};

}  // namespace

namespace helper_message {

json::object of(const Run& run) {
  json::object message{{"argv", texts(run.command.argv)},
                       {"input", run.command.input},
                       {"environment", texts(run.command.environment)},
                       {"deadline_ms", run.limits.deadline.count()},
                       {"output_bytes", static_cast<std::int64_t>(run.limits.output_bytes)}};
  if (run.command.uid) message["uid"] = static_cast<std::int64_t>(*run.command.uid);
  if (run.command.gid) message["gid"] = static_cast<std::int64_t>(*run.command.gid);
  return json::object{{"run", std::move(message)}};
}

Run run_in(const json::object& request) {
  Run run;
  run.command.argv = texts_in(request, "argv");
  run.command.input = text_of(request, "input");
  run.command.environment = texts_in(request, "environment");
  if (const auto uid = number_in(request, "uid")) run.command.uid = static_cast<uid_t>(*uid);
  if (const auto gid = number_in(request, "gid")) run.command.gid = static_cast<gid_t>(*gid);
  if (const auto deadline = number_in(request, "deadline_ms")) run.limits.deadline = Milliseconds{*deadline};
  if (const auto bytes = number_in(request, "output_bytes")) run.limits.output_bytes = static_cast<std::size_t>(*bytes);
  return run;
}

json::object of(const Expected<CommandResult>& result) {
  if (!result) {
    return json::object{{"error", json::object{{"code", static_cast<int>(result.error().code)},
                                                {"message", result.error().message},
                                                {"errno", result.error().system_error}}}};
  }
  return json::object{{"exit_status", result->exit_status},
                      {"output", result->output},
                      {"error_output", result->error},
                      {"output_cut", result->output_cut}};
}

Expected<CommandResult> result_in(const json::object& answer) {
  if (const json::value* error = answer.if_contains("error"); error != nullptr && error->is_object()) {
    const auto code = number_in(error->get_object(), "code");
    const auto reason = number_in(error->get_object(), "errno");
    return std::unexpected(Error{static_cast<ErrorCode>(code.value_or(1)), text_of(error->get_object(), "message"),
                                 static_cast<int>(reason.value_or(0))});
  }
  const auto status = number_in(answer, "exit_status");
  if (!status) return fail("dualdeploy-helper's answer is not understood");
  CommandResult result;
  result.exit_status = static_cast<int>(*status);
  result.output = text_of(answer, "output");
  result.error = text_of(answer, "error_output");
  const json::value* cut = answer.if_contains("output_cut");
  result.output_cut = cut != nullptr && cut->is_bool() && cut->get_bool();
  return result;
}

Expected<json::object> parse(std::string_view line) {
  json::parse_options bytes;
  bytes.allow_invalid_utf8 = true;
  error_code error;
  json::value value = json::parse(line, error, {}, bytes);
  if (error || !value.is_object()) return fail("a message between agent and helper is not understood");
  return std::move(value.get_object());
}

}  // namespace helper_message

std::optional<std::string> helper_socket() {
  const char* socket = std::getenv("DUALDEPLOY_HELPER");
  return socket != nullptr && *socket != '\0' ? std::optional<std::string>(socket) : std::nullopt;
}

asio::awaitable<Expected<CommandResult>> run_configured(Command command, CommandLimits limits) {
  const std::optional<std::string> path = helper_socket();
  if (!path) co_return co_await run_command(std::move(command), limits);
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  const std::string request = json::serialize(helper_message::of({std::move(command), limits})) + "\n";
  Local::socket socket(executor);
  asio::steady_timer deadline(executor, limits.deadline + margin);
  deadline.async_wait([&socket](const error_code& cancelled) {
    error_code ignored;
    if (!cancelled) socket.close(ignored);
  });
  error_code error;
  co_await socket.async_connect(Local::endpoint(*path), asio::redirect_error(asio::use_awaitable, error));
  if (!error) co_await asio::async_write(socket, asio::buffer(request), asio::redirect_error(asio::use_awaitable, error));
  std::string line;
  // What was sent stays open in this direction: its end would tell the helper that nobody waits any more.
  if (!error) {
    co_await asio::async_read_until(socket, asio::dynamic_buffer(line, helper_message::limit_bytes), '\n',
                                    asio::redirect_error(asio::use_awaitable, error));
  }
  deadline.cancel();
  if (error) co_return silent(error.message());
  auto answer = helper_message::parse(line);
  if (!answer) co_return std::unexpected(answer.error());
  co_return helper_message::result_in(*answer);
}

Expected<json::object> ask_helper(const std::string& path, const json::object& request) {
  Blocking socket(path);
  if (socket.failed() != 0) return silent(std::string(error_code(socket.failed(), boost::system::system_category()).message()));
  if (!socket.send(json::serialize(request) + "\n")) return silent("it does not listen");
  const std::string line = socket.receive_line();
  if (!line.ends_with('\n')) return silent("no answer in time");
  return helper_message::parse(line);
}

}  // namespace dualdeploy::host
