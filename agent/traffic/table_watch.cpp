#include "traffic/table_watch.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace dualdeploy::traffic {
namespace {

constexpr std::chrono::milliseconds interval{100};

/// struct ipt_getinfo and ip6t_getinfo (linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h) are alike.
struct TableInfo {
  std::array<char, 32> name{};
  std::uint32_t valid_hooks = 0;
  std::array<std::uint32_t, 5> hook_entry{};
  std::array<std::uint32_t, 5> underflow{};
  std::uint32_t num_entries = 0;
  std::uint32_t size = 0;
  bool operator==(const TableInfo&) const = default;
};
static_assert(sizeof(TableInfo) == 84);
constexpr int get_info = 64;  // IPT_SO_GET_INFO and IP6T_SO_GET_INFO

struct Place {
  int family;
  int level;
  std::string_view table;
};
constexpr std::array<Place, 4> places{{{AF_INET, IPPROTO_IP, "nat"},
                                       {AF_INET, IPPROTO_IP, "filter"},
                                       {AF_INET6, IPPROTO_IPV6, "nat"},
                                       {AF_INET6, IPPROTO_IPV6, "filter"}}};
using Tables = std::array<TableInfo, places.size()>;

Expected<TableInfo> ask(int socket, const Place& place) {
  TableInfo info;
  place.table.copy(info.name.data(), info.name.size() - 1);
  socklen_t length = sizeof info;
  if (::getsockopt(socket, place.level, get_info, &info, &length) != 0) {
    return fail_errno("cannot read iptables' table " + std::string(place.table), errno);
  }
  return info;
}

}  // namespace

struct TableWatch::Impl : std::enable_shared_from_this<Impl> {
  Impl(const boost::asio::any_io_executor& executor, OnChange callback) : timer(executor), on_change(std::move(callback)) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    for (const int socket : {v4, v6}) {
      if (socket >= 0) ::close(socket);
    }
  }

  Expected<Tables> look() const {
    Tables tables;
    for (std::size_t i = 0; i < places.size(); ++i) {
      auto info = ask(places[i].family == AF_INET ? v4 : v6, places[i]);
      if (!info) return std::unexpected(std::move(info.error()));
      tables[i] = *info;
    }
    return tables;
  }

  void wait() {
    timer.expires_after(interval);
    timer.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
      const auto self = weak.lock();
      if (error || !self || self->closed) return;
      self->compare();
      if (!self->closed) self->wait();
    });
  }

  void compare() {
    if (paused > 0) return;
    const auto now = look();
    if (!now || *now == last) return;
    last = *now;
    on_change();
  }

  boost::asio::steady_timer timer;
  OnChange on_change;
  int v4 = -1;
  int v6 = -1;
  Tables last{};
  int paused = 0;
  bool closed = false;
};

TableWatch::TableWatch(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

TableWatch::~TableWatch() {
  impl_->closed = true;
  impl_->timer.cancel();
}

Expected<std::unique_ptr<TableWatch>> TableWatch::open(boost::asio::any_io_executor executor, OnChange on_change) {
  auto impl = std::make_shared<Impl>(executor, std::move(on_change));
  impl->v4 = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  impl->v6 = ::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (impl->v4 < 0 || impl->v6 < 0) return fail_errno("cannot open a socket", errno);
  auto tables = impl->look();
  if (!tables) return std::unexpected(std::move(tables.error()));
  impl->last = *tables;
  impl->wait();
  return std::unique_ptr<TableWatch>(new TableWatch(std::move(impl)));
}

void TableWatch::pause() { ++impl_->paused; }

void TableWatch::resume() {
  if (--impl_->paused > 0) return;
  if (const auto now = impl_->look()) impl_->last = *now;
}

}  // namespace dualdeploy::traffic
