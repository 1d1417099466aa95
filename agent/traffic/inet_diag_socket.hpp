#pragma once

#include <array>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/error.hpp"
#include "traffic/inet_diag.hpp"

namespace dualdeploy::traffic::inet_diag {

/// Asks the kernel of the caller's network namespace about TCP sockets, under one deadline over all that is asked.
/// Nothing blocks; the loop gets its turn between portions. Held by shared_ptr, for the deadline's handler.
class Conversation : public std::enable_shared_from_this<Conversation> {
 public:
  /// Errors: the kernel has no NETLINK_SOCK_DIAG; no more file descriptors.
  [[nodiscard]] static Expected<std::shared_ptr<Conversation>> open(const boost::asio::any_io_executor& executor,
                                                                    std::chrono::milliseconds patience);

  /// For the next question. Answers to earlier ones are not received any more.
  [[nodiscard]] std::uint32_t next_sequence() { return ++sequence_; }
  [[nodiscard]] Expected<void> send(const std::string& bytes);
  /// The next datagram. Errors: `timed_out`; `failed` if it is malformed or the kernel had to drop some.
  [[nodiscard]] boost::asio::awaitable<Expected<Answer>> receive();
  /// What is there now, nullopt if nothing is. The first answer is there as soon as send() returns: the kernel works
  /// within the system call.
  [[nodiscard]] Expected<std::optional<Answer>> read();
  /// Sends, and reads the first datagram of the answer.
  [[nodiscard]] Expected<Answer> ask(const std::string& bytes);
  /// The next datagram of an answer that is not complete.
  [[nodiscard]] Expected<Answer> more();

 private:
  Conversation(const boost::asio::any_io_executor& executor, int fd) : socket_(executor, fd), deadline_(executor) {}
  void start_deadline(std::chrono::milliseconds patience);

  boost::asio::posix::stream_descriptor socket_;
  boost::asio::steady_timer deadline_;
  bool expired_ = false;
  int portions_ = 0;
  std::uint32_t sequence_ = 0;
  std::array<char, 64 * 1024> buffer_{};  // The kernel's portions are of 32 KiB at most.
};

}  // namespace dualdeploy::traffic::inet_diag
