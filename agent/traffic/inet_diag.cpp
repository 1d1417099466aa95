#include "traffic/inet_diag.hpp"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <utility>

namespace dualdeploy::traffic::inet_diag {
namespace {

constexpr std::uint16_t destroy_type = 21;   // SOCK_DESTROY, newer than some kernel headers
constexpr std::uint8_t mark_condition = 10;  // INET_DIAG_BC_MARK_COND, likewise
constexpr std::uint16_t skv6only = 11;       // INET_DIAG_SKV6ONLY, likewise
constexpr std::size_t most_ranges = 64;

constexpr std::uint32_t states(std::initializer_list<int> list) {
  std::uint32_t mask = 0;
  for (const int state : list) mask |= 1U << static_cast<unsigned>(state);
  return mask;
}
constexpr std::uint32_t served_states = states(
    {TCP_ESTABLISHED, TCP_SYN_RECV, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_CLOSE_WAIT, TCP_LAST_ACK, TCP_CLOSING});
// The other end of any of those. TIME_WAIT is opposite LAST_ACK.
constexpr std::uint32_t connecting_states = served_states | states({TCP_SYN_SENT, TCP_TIME_WAIT});

template <class T>
void append(std::string& to, const T& value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string message(std::uint16_t type, std::uint16_t flags, std::uint32_t sequence, const inet_diag_req_v2& request,
                    const std::string& program = {}) {
  nlattr attribute{};
  attribute.nla_type = INET_DIAG_REQ_BYTECODE;
  attribute.nla_len = static_cast<std::uint16_t>(sizeof attribute + program.size());
  nlmsghdr header{};
  header.nlmsg_len = static_cast<std::uint32_t>(sizeof header + sizeof request +
                                                (program.empty() ? 0 : sizeof attribute + program.size()));
  header.nlmsg_type = type;
  header.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
  header.nlmsg_seq = sequence;
  std::string bytes;
  append(bytes, header);
  append(bytes, request);
  if (!program.empty()) {
    append(bytes, attribute);
    bytes.append(program);
  }
  return bytes;
}

using Range = std::pair<std::uint16_t, std::uint16_t>;

/// Neighbouring ports as ranges. Beyond the bound the last one spans all that is left: the kernel's filter only spares
/// work, and who asked looks at each port anyway.
std::vector<Range> ranges_of(std::vector<std::uint16_t> ports) {
  std::ranges::sort(ports);
  std::vector<Range> ranges;
  for (const std::uint16_t port : ports) {
    const bool joins = !ranges.empty() && (port <= ranges.back().second + 1 || ranges.size() == most_ranges);
    if (joins) {
      ranges.back().second = port;
    } else {
      ranges.emplace_back(port, port);
    }
  }
  return ranges;
}

/// The kernel's filter program: `guard`, then a port in one of the ranges. Each step jumps forward, by `yes` bytes if
/// it holds and by `no` otherwise; a socket is taken if the jumps end at the end, and left out if 4 bytes past it. Only
/// comparisons that Linux 3.10 knows: "equals" (S_EQ) came later.
std::string port_program(const std::vector<Range>& ranges, std::uint8_t at_least, std::uint8_t at_most,
                         inet_diag_bc_op guard, const std::string& guard_argument) {
  constexpr std::size_t comparison = 2 * sizeof(inet_diag_bc_op);  // The port is the `no` of a second step.
  constexpr std::size_t block = 2 * comparison + sizeof(inet_diag_bc_op);
  std::size_t left = sizeof guard + guard_argument.size() + ranges.size() * block;
  const auto distance = [](std::size_t bytes) { return static_cast<std::uint16_t>(bytes); };
  std::string program;
  guard.yes = static_cast<std::uint8_t>(sizeof guard + guard_argument.size());
  guard.no = distance(left + 4);
  append(program, guard);
  program += guard_argument;
  left -= guard.yes;
  for (const auto& [first, last] : ranges) {
    const std::size_t past = left == block ? 4 : 0;  // After the last range: out.
    append(program, inet_diag_bc_op{at_least, comparison, distance(block + past)});
    append(program, inet_diag_bc_op{INET_DIAG_BC_NOP, 0, first});
    append(program, inet_diag_bc_op{at_most, comparison, distance(block - comparison + past)});
    append(program, inet_diag_bc_op{INET_DIAG_BC_NOP, 0, last});
    left -= block;
    const std::uint16_t to_the_end = distance(sizeof(inet_diag_bc_op) + left);
    append(program, inet_diag_bc_op{INET_DIAG_BC_JMP, sizeof(inet_diag_bc_op), to_the_end});
  }
  return program;
}

inet_diag_req_v2 request_for(std::uint8_t family, std::uint32_t state_mask) {
  inet_diag_req_v2 request{};
  request.sdiag_family = family;
  request.sdiag_protocol = IPPROTO_TCP;
  request.idiag_states = state_mask;
  return request;
}

End end_of(std::uint8_t family, const __be32 (&address)[4], __be16 port) {
  End end{.port = ntohs(port)};
  if (family == AF_INET6) {
    std::memcpy(end.address.data(), address, sizeof address);
  } else {
    end.address[10] = end.address[11] = 0xff;
    std::memcpy(end.address.data() + 12, address, sizeof address[0]);
  }
  return end;
}

/// The inverse of end_of().
void put_end(std::uint8_t family, const End& end, __be32 (&address)[4], __be16& port) {
  port = htons(end.port);
  if (family == AF_INET6) {
    std::memcpy(address, end.address.data(), sizeof address);
  } else {
    std::memcpy(address, end.address.data() + 12, sizeof address[0]);
  }
}

bool says_v6_only(std::string_view attributes) {
  nlattr attribute{};
  while (attributes.size() >= sizeof attribute) {
    std::memcpy(&attribute, attributes.data(), sizeof attribute);
    if (attribute.nla_len < sizeof attribute || attribute.nla_len > attributes.size()) return false;
    if (attribute.nla_type == skv6only && attribute.nla_len > NLA_HDRLEN) return attributes[NLA_HDRLEN] != 0;
    attributes.remove_prefix(std::min(attributes.size(), static_cast<std::size_t>(NLA_ALIGN(attribute.nla_len))));
  }
  return false;
}

bool read_socket(std::string_view body, Answer& answer) {
  inet_diag_msg told{};
  if (body.size() < sizeof told) return false;
  std::memcpy(&told, body.data(), sizeof told);
  if (told.idiag_family != AF_INET && told.idiag_family != AF_INET6) return false;
  answer.sockets.push_back(Socket{.local = end_of(told.idiag_family, told.id.idiag_src, told.id.idiag_sport),
                                  .remote = end_of(told.idiag_family, told.id.idiag_dst, told.id.idiag_dport),
                                  .family = told.idiag_family,
                                  .state = told.idiag_state,
                                  .inode = told.idiag_inode,
                                  .v6_only = says_v6_only(body.substr(std::min(body.size(), std::size_t{NLMSG_ALIGN(sizeof told)}))),
                                  .id = told.id});
  return true;
}

/// Errors come as negative errno values. A list can end in one, too.
bool read_verdict(std::string_view body, Answer& answer) {
  int error = 0;
  if (body.size() < sizeof error) return false;
  std::memcpy(&error, body.data(), sizeof error);
  if (error > 0 || error == std::numeric_limits<int>::min()) return false;
  answer.verdicts.push_back(-error);
  return true;
}

bool read_message(const nlmsghdr& header, std::string_view body, Answer& answer) {
  if ((header.nlmsg_flags & NLM_F_DUMP_INTR) != 0) answer.interrupted = true;
  switch (header.nlmsg_type) {
    case SOCK_DIAG_BY_FAMILY: return read_socket(body, answer);
    case NLMSG_ERROR: return read_verdict(body, answer);
    case NLMSG_DONE: answer.done = true; return body.empty() || read_verdict(body, answer);
    default: return true;
  }
}

}  // namespace

std::string list_served(std::uint32_t sequence, std::uint8_t family, std::vector<std::uint16_t> ports) {
  // AUTO holds unless the socket's owner chose its port with bind(2). An accepted socket does not inherit that from its
  // listener; so this leaves out sockets that were bound to one of the ports and then connected out. Before Linux 4.4
  // it leaves out SYN_RECV as well, which was kept with the listener then.
  const std::string program =
      port_program(ranges_of(std::move(ports)), INET_DIAG_BC_S_GE, INET_DIAG_BC_S_LE, {INET_DIAG_BC_AUTO, 0, 0}, {});
  return message(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, sequence, request_for(family, served_states), program);
}

std::string list_marked(std::uint32_t sequence, std::uint8_t family, std::vector<std::uint16_t> ports,
                        std::uint32_t mark) {
  std::string condition;  // struct inet_diag_markcond
  append(condition, mark);
  append(condition, ~std::uint32_t{0});
  const std::string program = port_program(ranges_of(std::move(ports)), INET_DIAG_BC_D_GE, INET_DIAG_BC_D_LE,
                                           {mark_condition, 0, 0}, condition);
  return message(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, sequence, request_for(family, connecting_states), program);
}

std::string list_listeners(std::uint32_t sequence, std::uint8_t family) {
  return message(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, sequence, request_for(family, states({TCP_LISTEN})));
}

std::string find(std::uint32_t sequence, std::uint8_t family, const End& local, const End& remote) {
  inet_diag_req_v2 request = request_for(family, ~0U);
  put_end(family, local, request.id.idiag_src, request.id.idiag_sport);
  put_end(family, remote, request.id.idiag_dst, request.id.idiag_dport);
  request.id.idiag_cookie[0] = request.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  return message(SOCK_DIAG_BY_FAMILY, 0, sequence, request);
}

std::string list_nothing(std::uint32_t sequence) {
  return message(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, sequence, request_for(AF_INET, 0));
}

std::string destroy(std::uint32_t sequence, const Socket& socket) {
  // With the cookie: where the connection is gone the kernel would otherwise find, and end, the listener.
  inet_diag_req_v2 request = request_for(socket.family, ~0U);
  request.id = socket.id;
  return message(destroy_type, NLM_F_ACK, sequence, request);
}

int Answer::refusal() const {
  const auto found = std::ranges::find_if(verdicts, [](int verdict) { return verdict != 0; });
  return found == verdicts.end() ? 0 : *found;
}

Answer parse(std::string_view bytes, std::uint32_t sequence) {
  Answer answer;
  while (!bytes.empty() && !answer.malformed) {
    nlmsghdr header{};
    if (bytes.size() >= sizeof header) std::memcpy(&header, bytes.data(), sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > bytes.size()) {
      answer.malformed = true;
      break;
    }
    const std::string_view body = bytes.substr(sizeof header, header.nlmsg_len - sizeof header);
    if (header.nlmsg_seq == sequence && !read_message(header, body, answer)) answer.malformed = true;
    const std::size_t padded = NLMSG_ALIGN(static_cast<std::size_t>(header.nlmsg_len));
    bytes.remove_prefix(std::min(bytes.size(), padded));
  }
  return answer;
}

}  // namespace dualdeploy::traffic::inet_diag
