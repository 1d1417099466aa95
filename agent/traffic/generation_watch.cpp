#include "traffic/generation_watch.hpp"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

namespace dualdeploy::traffic {
namespace {

constexpr std::uint16_t message_type(int message) { return static_cast<std::uint16_t>((NFNL_SUBSYS_NFTABLES << 8) | message); }

/// What the first attribute of this type holds, of those that follow each other in `rest`.
std::optional<std::string_view> attribute_in(std::string_view rest, std::uint16_t type) {
  while (rest.size() >= sizeof(nlattr)) {
    nlattr attribute{};
    std::memcpy(&attribute, rest.data(), sizeof attribute);
    if (attribute.nla_len < sizeof attribute || attribute.nla_len > rest.size()) break;
    if ((attribute.nla_type & NLA_TYPE_MASK) == type) return rest.substr(NLA_HDRLEN, attribute.nla_len - std::size_t{NLA_HDRLEN});
    rest.remove_prefix(std::min<std::size_t>(NLA_ALIGN(attribute.nla_len), rest.size()));
  }
  return std::nullopt;
}

/// The attributes of each message about a new generation.
template <class OnMessage>
void each_generation(std::string_view received, const OnMessage& on_message) {
  while (received.size() >= sizeof(nlmsghdr)) {
    nlmsghdr header{};
    std::memcpy(&header, received.data(), sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > received.size()) return;
    constexpr std::size_t before_attributes = NLMSG_HDRLEN + sizeof(nfgenmsg);
    if (header.nlmsg_type == message_type(NFT_MSG_NEWGEN) && header.nlmsg_len >= before_attributes) {
      on_message(header, received.substr(before_attributes, header.nlmsg_len - before_attributes));
    }
    received.remove_prefix(std::min<std::size_t>(NLMSG_ALIGN(header.nlmsg_len), received.size()));
  }
}

/// The generation's.
std::optional<std::uint32_t> number_in(std::string_view attributes) {
  const auto id = attribute_in(attributes, NFTA_GEN_ID);
  std::uint32_t wire = 0;
  if (!id || id->size() != sizeof wire) return std::nullopt;
  std::memcpy(&wire, id->data(), sizeof wire);
  return ntohl(wire);
}

/// Closed at its end.
class Socket {
 public:
  Socket() : fd_(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER)) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int fd() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

}  // namespace

Expected<std::uint32_t> nftables_generation() {
  const Socket socket;
  if (socket.fd() < 0) return fail_errno("cannot open a netfilter netlink socket", errno);
  struct {
    nlmsghdr header;
    nfgenmsg generic;
  } request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = message_type(NFT_MSG_GETGEN);
  request.header.nlmsg_flags = NLM_F_REQUEST;
  if (::send(socket.fd(), &request, sizeof request, 0) < 0) return fail_errno("cannot ask for the generation of the rules", errno);
  // The kernel has answered within that call.
  std::array<char, 512> answer{};
  const ssize_t length = ::recv(socket.fd(), answer.data(), answer.size(), MSG_DONTWAIT);
  if (length < 0) return fail_errno("no answer about the generation of the rules", errno);
  std::optional<std::uint32_t> generation;
  each_generation({answer.data(), static_cast<std::size_t>(length)},
                  [&generation](const nlmsghdr&, std::string_view attributes) { generation = number_in(attributes); });
  if (!generation) return fail("nftables does not tell the generation of its rules");
  return *generation;
}

struct GenerationWatch::Impl : std::enable_shared_from_this<Impl> {
  Impl(boost::asio::any_io_executor executor, int fd, OnGeneration callback)
      : socket(executor, fd), on_generation(std::move(callback)) {}

  void wait() {
    socket.async_wait(boost::asio::posix::descriptor_base::wait_read,
                      [self = shared_from_this()](const boost::system::error_code& error) {
                        if (error || self->closed) return;
                        self->read_all();
                        if (!self->closed) self->wait();
                      });
  }

  void read_all() {
    // A flood of events is read in bounded portions; what is left wakes us again.
    for (int i = 0; i < 64 && !closed; ++i) {
      const ssize_t length = ::recv(socket.native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (length < 0) {
        if (errno == ENOBUFS) on_generation(Generation{});  // Events were lost: look for yourself.
        if (errno != EINTR && errno != ENOBUFS) return;
        continue;
      }
      parse(static_cast<std::size_t>(length));
    }
  }

  void parse(std::size_t length) {
    each_generation({buffer.data(), length}, [this](const nlmsghdr& header, std::string_view attributes) {
      if (closed) return;
      Generation found{header.nlmsg_pid, {}, number_in(attributes).value_or(0)};
      if (const auto name = attribute_in(attributes, NFTA_GEN_PROC_NAME)) found.program = name->substr(0, name->find('\0'));
      on_generation(found);
    });
  }

  boost::asio::posix::stream_descriptor socket;
  OnGeneration on_generation;
  bool closed = false;
  alignas(nlmsghdr) std::array<char, 16 * 1024> buffer{};
};

GenerationWatch::GenerationWatch(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

GenerationWatch::~GenerationWatch() {
  impl_->closed = true;
  boost::system::error_code ignored;
  impl_->socket.close(ignored);
}

Expected<std::unique_ptr<GenerationWatch>> GenerationWatch::open(boost::asio::any_io_executor executor,
                                                                 OnGeneration on_generation) {
  Socket socket;
  if (socket.fd() < 0) return fail_errno("cannot open a netfilter netlink socket", errno);
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = 1U << (NFNLGRP_NFTABLES - 1);
  if (::bind(socket.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail_errno("cannot listen to nftables events", errno);
  }
  auto impl = std::make_shared<Impl>(std::move(executor), socket.release(), std::move(on_generation));
  impl->wait();
  return std::unique_ptr<GenerationWatch>(new GenerationWatch(std::move(impl)));
}

}  // namespace dualdeploy::traffic
