#include "control/peer.hpp"

#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#ifndef SO_PEERGROUPS  // Linux 4.13; the C library of CentOS 7 does not name it.
#define SO_PEERGROUPS 59
#endif

namespace dualdeploy::control {
namespace {

constexpr std::size_t most_groups = 65'536;  // NGROUPS_MAX

std::string user_name(uid_t uid) {
  passwd entry{};
  passwd* found = nullptr;
  std::vector<char> buffer(16 * 1024);
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr) return found->pw_name;
  return "uid " + std::to_string(uid);
}

/// The peer's groups as it has them; on older kernels those of the user database.
std::vector<gid_t> groups_of(int socket, const ucred& credentials, const std::string& user) {
  std::vector<gid_t> groups(256);
  for (;;) {
    auto length = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &length) == 0) {
      groups.resize(length / sizeof(gid_t));
      break;
    }
    if (errno == ERANGE && groups.size() < most_groups) {
      groups.resize(length / sizeof(gid_t));
      continue;
    }
    int count = static_cast<int>(groups.size());
    if (::getgrouplist(user.c_str(), credentials.gid, groups.data(), &count) < 0) {
      groups.resize(static_cast<std::size_t>(count));
      (void)::getgrouplist(user.c_str(), credentials.gid, groups.data(), &count);
    }
    groups.resize(static_cast<std::size_t>(count));
    break;
  }
  groups.push_back(credentials.gid);
  return groups;
}

bool is_member(const Peer& peer, const std::string& group_name) {
  group entry{};
  group* found = nullptr;
  std::vector<char> buffer(64 * 1024);
  if (::getgrnam_r(group_name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) return false;
  return std::ranges::find(peer.groups, found->gr_gid) != peer.groups.end();
}

}  // namespace

Expected<Peer> peer_of(int socket) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
    return fail_errno("cannot tell who is asking", errno);
  }
  Peer peer;
  peer.actor = Actor{credentials.uid, credentials.pid, user_name(credentials.uid)};
  peer.groups = groups_of(socket, credentials, peer.actor.user);
  return peer;
}

Permission permission_of(const Peer& peer, const Access& access) {
  if (peer.actor.uid == 0 || is_member(peer, access.change_group)) return Permission::change;
  return is_member(peer, access.view_group) ? Permission::view : Permission::nothing;
}

}  // namespace dualdeploy::control
