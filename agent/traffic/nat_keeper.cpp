#include "traffic/nat_keeper.hpp"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

namespace dualdeploy::traffic {
namespace {

constexpr std::string_view table_name = "dualdeploy-keep";
constexpr std::string_view chain_name = "keep-nat";
constexpr std::uint32_t owner_flag = 1U << 1U;  // NFT_TABLE_F_OWNER, newer than some kernel headers

/// A batch of netlink messages (RFC 3549; linux/netlink.h), written from front to back.
class Batch {
 public:
  void begin_message(std::uint16_t type, std::uint16_t flags, std::uint8_t family, std::uint16_t resource) {
    message_ = bytes_.size();
    nlmsghdr header{};
    header.nlmsg_type = type;
    header.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
    header.nlmsg_seq = ++sequence_;
    append(&header, sizeof header);
    nfgenmsg generic{};
    generic.nfgen_family = family;
    generic.version = NFNETLINK_V0;
    generic.res_id = htons(resource);
    append(&generic, sizeof generic);
  }
  void end_message() { put_length<std::uint32_t>(message_); }

  void text(std::uint16_t type, std::string_view value) {
    const std::size_t start = begin_attribute(type);
    append(value.data(), value.size());
    append("", 1);
    end_attribute(start);
  }
  void number(std::uint16_t type, std::uint32_t value) {
    const std::size_t start = begin_attribute(type);
    const std::uint32_t wire = htonl(value);
    append(&wire, sizeof wire);
    end_attribute(start);
  }
  std::size_t begin_attribute(std::uint16_t type) {
    const std::size_t start = bytes_.size();
    nlattr attribute{};
    attribute.nla_type = type;
    append(&attribute, sizeof attribute);
    return start;
  }
  void end_attribute(std::size_t start) {
    put_length<std::uint16_t>(start);
    bytes_.resize(NLA_ALIGN(bytes_.size()));
  }
  [[nodiscard]] const std::string& bytes() const { return bytes_; }

 private:
  void append(const void* data, std::size_t size) { bytes_.append(static_cast<const char*>(data), size); }
  /// Messages and attributes both begin with their length, without the padding behind them.
  template <class Length>
  void put_length(std::size_t start) {
    const auto length = static_cast<Length>(bytes_.size() - start);
    std::memcpy(bytes_.data() + start, &length, sizeof length);
  }

  std::string bytes_;
  std::size_t message_ = 0;
  std::uint32_t sequence_ = 0;
};

constexpr std::uint16_t nft(int message) { return static_cast<std::uint16_t>((NFNL_SUBSYS_NFTABLES << 8) | message); }

/// table inet dualdeploy-keep { flags owner; chain keep-nat { type nat hook prerouting priority 0; ct state } }
/// The rule only reads the state, without a verdict.
std::string owned_table() {
  Batch batch;
  batch.begin_message(NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
  batch.end_message();
  batch.begin_message(nft(NFT_MSG_NEWTABLE), NLM_F_CREATE, NFPROTO_INET, 0);
  batch.text(NFTA_TABLE_NAME, table_name);
  batch.number(NFTA_TABLE_FLAGS, owner_flag);
  batch.end_message();
  batch.begin_message(nft(NFT_MSG_NEWCHAIN), NLM_F_CREATE, NFPROTO_INET, 0);
  batch.text(NFTA_CHAIN_TABLE, table_name);
  batch.text(NFTA_CHAIN_NAME, chain_name);
  const std::size_t hook = batch.begin_attribute(NFTA_CHAIN_HOOK | NLA_F_NESTED);
  batch.number(NFTA_HOOK_HOOKNUM, NF_INET_PRE_ROUTING);
  batch.number(NFTA_HOOK_PRIORITY, 0);
  batch.end_attribute(hook);
  batch.text(NFTA_CHAIN_TYPE, "nat");
  batch.end_message();
  batch.begin_message(nft(NFT_MSG_NEWRULE), NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK, NFPROTO_INET, 0);
  batch.text(NFTA_RULE_TABLE, table_name);
  batch.text(NFTA_RULE_CHAIN, chain_name);
  const std::size_t expressions = batch.begin_attribute(NFTA_RULE_EXPRESSIONS | NLA_F_NESTED);
  const std::size_t expression = batch.begin_attribute(NFTA_LIST_ELEM | NLA_F_NESTED);
  batch.text(NFTA_EXPR_NAME, "ct");
  const std::size_t tracking = batch.begin_attribute(NFTA_EXPR_DATA | NLA_F_NESTED);
  batch.number(NFTA_CT_KEY, NFT_CT_STATE);
  batch.number(NFTA_CT_DREG, NFT_REG_1);
  batch.end_attribute(tracking);
  batch.end_attribute(expression);
  batch.end_attribute(expressions);
  batch.end_message();
  batch.begin_message(NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
  batch.end_message();
  return batch.bytes();
}

/// The kernel's word on the batch: 0, or an errno. Answers come at once, from within send(2).
int verdict(int socket) {
  alignas(nlmsghdr) char buffer[8 * 1024];
  const ssize_t length = ::recv(socket, buffer, sizeof buffer, 0);
  if (length < 0) return errno;
  nlmsghdr header{};
  nlmsgerr error{};
  if (static_cast<std::size_t>(length) < sizeof header + sizeof error) return EBADMSG;
  std::memcpy(&header, buffer, sizeof header);
  std::memcpy(&error, buffer + NLMSG_HDRLEN, sizeof error);
  return header.nlmsg_type == NLMSG_ERROR ? -error.error : EBADMSG;
}

}  // namespace

Expected<NatKeeper> NatKeeper::open() {
  NatKeeper keeper(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  if (keeper.socket_ < 0) return fail_errno("cannot open a netfilter netlink socket", errno);
  const timeval patience{1, 0};
  (void)::setsockopt(keeper.socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  const std::string batch = owned_table();
  if (::sendto(keeper.socket_, batch.data(), batch.size(), 0, reinterpret_cast<const sockaddr*>(&kernel), sizeof kernel) < 0) {
    return fail_errno("cannot make an owned table", errno);
  }
  if (const int error = verdict(keeper.socket_); error != 0) return fail_errno("the kernel refuses an owned table", error);
  return keeper;
}

NatKeeper::NatKeeper(NatKeeper&& from) noexcept : socket_(std::exchange(from.socket_, -1)) {}

NatKeeper::~NatKeeper() {
  if (socket_ >= 0) ::close(socket_);
}

}  // namespace dualdeploy::traffic
