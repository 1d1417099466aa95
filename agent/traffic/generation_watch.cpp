#include "traffic/generation_watch.hpp"

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <cstring>

namespace dualdeploy::traffic {

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
    for (std::size_t at = 0; at + sizeof(nlmsghdr) <= length && !closed;) {
      nlmsghdr header{};
      std::memcpy(&header, buffer.data() + at, sizeof header);
      if (header.nlmsg_len < sizeof header || header.nlmsg_len > length - at) return;
      if (header.nlmsg_type == ((NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_NEWGEN)) {
        on_generation(generation(header, at + NLMSG_HDRLEN + sizeof(nfgenmsg), at + header.nlmsg_len));
      }
      at += NLMSG_ALIGN(header.nlmsg_len);
    }
  }

  Generation generation(const nlmsghdr& header, std::size_t at, std::size_t end) {
    Generation found{header.nlmsg_pid, {}};
    while (at + sizeof(nlattr) <= end) {
      nlattr attribute{};
      std::memcpy(&attribute, buffer.data() + at, sizeof attribute);
      if (attribute.nla_len < sizeof attribute || attribute.nla_len > end - at) break;
      if ((attribute.nla_type & NLA_TYPE_MASK) == NFTA_GEN_PROC_NAME) {
        const char* text = buffer.data() + at + NLA_HDRLEN;
        found.program.assign(text, ::strnlen(text, attribute.nla_len - static_cast<std::size_t>(NLA_HDRLEN)));
      }
      at += NLA_ALIGN(attribute.nla_len);
    }
    return found;
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
  const int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
  if (fd < 0) return fail_errno("cannot open a netfilter netlink socket", errno);
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = 1U << (NFNLGRP_NFTABLES - 1);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int why = errno;
    ::close(fd);
    return fail_errno("cannot listen to nftables events", why);
  }
  auto impl = std::make_shared<Impl>(std::move(executor), fd, std::move(on_generation));
  impl->wait();
  return std::unique_ptr<GenerationWatch>(new GenerationWatch(std::move(impl)));
}

}  // namespace dualdeploy::traffic
