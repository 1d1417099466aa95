#include "traffic/inet_diag_socket.hpp"

#include <linux/netlink.h>
#include <sys/socket.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <utility>

namespace dualdeploy::traffic::inet_diag {
namespace {

namespace asio = boost::asio;

constexpr int portions_a_turn = 8;  // Some 2,000 sockets: about a millisecond.

}  // namespace

Expected<std::shared_ptr<Conversation>> Conversation::open(const asio::any_io_executor& executor,
                                                           std::chrono::milliseconds patience) {
  const int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);
  if (fd < 0) return fail_errno("cannot open a netlink socket for connections", errno);
  std::shared_ptr<Conversation> opened(new Conversation(executor, fd));
  opened->start_deadline(patience);
  return opened;
}

void Conversation::start_deadline(std::chrono::milliseconds patience) {
  deadline_.expires_after(patience);
  deadline_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    const auto self = weak.lock();
    if (error || !self) return;
    self->expired_ = true;
    boost::system::error_code ignored;
    self->socket_.cancel(ignored);
  });
}

Expected<void> Conversation::send(const std::string& bytes) {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  const ssize_t sent = ::sendto(socket_.native_handle(), bytes.data(), bytes.size(), MSG_DONTWAIT,
                                reinterpret_cast<const sockaddr*>(&kernel), sizeof kernel);
  if (sent < 0) return fail_errno("cannot ask the kernel about connections", errno);
  return {};
}

Expected<std::optional<Answer>> Conversation::read() {
  const ssize_t length = ::recv(socket_.native_handle(), buffer_.data(), buffer_.size(), MSG_DONTWAIT | MSG_TRUNC);
  if (length < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  if (length < 0) return fail_errno("cannot read about connections", errno);
  const auto size = static_cast<std::size_t>(length);
  if (size == 0 || size > buffer_.size()) return fail_errno("cannot read about connections", EMSGSIZE);
  Answer answer = parse({buffer_.data(), size}, sequence_);
  if (answer.malformed) return fail_errno("the kernel's answer about connections is not understood", EBADMSG);
  return answer;
}

Expected<Answer> Conversation::ask(const std::string& bytes) {
  if (auto sent = send(bytes); !sent) return std::unexpected(sent.error());
  return more();
}

Expected<Answer> Conversation::more() {
  auto answer = read();
  if (!answer) return std::unexpected(std::move(answer.error()));
  if (!*answer) return fail("the kernel does not answer about connections");
  return std::move(**answer);
}

asio::awaitable<Expected<Answer>> Conversation::receive() {
  while (!expired_) {
    if (portions_ < portions_a_turn) {
      auto answer = read();
      if (!answer) co_return std::unexpected(std::move(answer.error()));
      ++portions_;
      if (*answer) co_return std::move(**answer);
    }
    // Also where there is more to read: the loop has other work.
    portions_ = 0;
    boost::system::error_code error;
    co_await socket_.async_wait(asio::posix::descriptor_base::wait_read,
                                asio::redirect_error(asio::use_awaitable, error));
    if (error && !expired_) co_return fail("waiting for the kernel's answer about connections: " + error.message());
  }
  co_return fail(ErrorCode::timed_out, "the kernel did not tell of all connections in time");
}

}  // namespace dualdeploy::traffic::inet_diag
