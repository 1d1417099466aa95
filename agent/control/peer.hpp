#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "core/types.hpp"

namespace dualdeploy::control {

/// The groups that decide what a user may ask. Names, resolved at each connection: a group may be made later.
struct Access {
  std::string change_group = "dualdeploy";
  std::string view_group = "dualdeploy-view";
};

enum class Permission : std::uint8_t { nothing, view, change };

/// Who is at the other end of a unix socket, as the kernel says (unix(7): SO_PEERCRED, SO_PEERGROUPS).
struct Peer {
  Actor actor;
  std::vector<gid_t> groups;  ///< Primary and supplementary.
};

[[nodiscard]] Expected<Peer> peer_of(int socket);

/// root and the change group may change and view; the view group may view.
[[nodiscard]] Permission permission_of(const Peer& peer, const Access& access);

}  // namespace dualdeploy::control
