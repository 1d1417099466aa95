# shellcheck shell=bash
# Two hosts on one cable: the instance (dd-NAME-srv) and the client host
# (dd-NAME-cli), each a network namespace. The cable's ends never are in the
# host's own namespace, so instances side by side use the same names and
# addresses. Sourced by ../instance.

server_netns() { printf 'dd-%s-srv' "$1"; }
client_netns() { printf 'dd-%s-cli' "$1"; }

# The client host lives as long as the instance's disk does: clients may run on
# across a reboot or a crash.
create_client() {
    local client
    client=$(client_netns "$1")
    ip netns add "$client"
    ip -n "$client" link set lo up
    tune_client "$client"
}

# connect_server NAME: before every boot. The instance gets a fresh namespace, for
# a machine that boots has no rules, tracked connections or settings of the boot
# before; the cable is the old one, so the client keeps its addresses.
connect_server() {
    local server client
    server=$(server_netns "$1")
    client=$(client_netns "$1")
    disconnect_server "$1"
    ip netns add "$server"
    if ! ip -n "$client" link set unplugged netns "$server" name eth0 2>/dev/null; then
        ip -n "$client" link delete eth0 2>/dev/null || true
        ip link add eth0 netns "$server" type veth peer name eth0 netns "$client"
        configure_end "$client" 192.0.2.2/24 192.0.2.12/24 2001:db8::2/64
    fi
    # The first address is the primary one; redirects to this host land there.
    configure_end "$server" 192.0.2.1/24 192.0.2.11/24 2001:db8::1/64
}

# disconnect_server NAME: after every boot, however it ended. From here on a
# client hears nothing, as from a machine without power; a namespace that stays
# would go on refusing connections in its name.
disconnect_server() {
    local server
    server=$(server_netns "$1")
    [[ -e /run/netns/$server ]] || return 0
    ip -n "$server" link set eth0 netns "$(client_netns "$1")" name unplugged 2>/dev/null || true
    kill_in_netns "$server"
    remove_netns "$server"
}

configure_end() {
    local netns=$1 address
    shift
    ip -n "$netns" link set lo up
    for address in "$@"; do
        # nodad: an IPv6 address that is still being checked for duplicates refuses bind().
        if [[ $address == *:* ]]; then
            ip -n "$netns" address add "$address" dev eth0 nodad
        else
            ip -n "$netns" address add "$address" dev eth0
        fi
    done
    ip -n "$netns" link set eth0 up
}

# One client address has to bear a connection a request for a while: all ports,
# and closed ones taken again. The conntrack limit belongs to the whole host on
# most kernels and then stays as it is.
tune_client() {
    # shellcheck disable=SC2016 # expanded inside
    ip netns exec "$1" sh -c '
        echo "1024 65000" >/proc/sys/net/ipv4/ip_local_port_range
        echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse
        limit=/proc/sys/net/netfilter/nf_conntrack_max
        if [ -w "$limit" ]; then echo 1048576 >"$limit"; fi 2>/dev/null || true'
}

destroy_network() {
    local client
    client=$(client_netns "$1")
    disconnect_server "$1"
    [[ -e /run/netns/$client ]] || return 0
    kill_in_netns "$client"
    remove_netns "$client"
}

# Another command, or the supervisor at the end of a boot, may be quicker.
remove_netns() { ip netns delete "$1" 2>/dev/null || [[ ! -e /run/netns/$1 ]]; }

# What still runs in a namespace of ours, for instance a server that a test left
# behind on the client host. A process is there because it was started there.
# Spared are this script and its ancestors: `down` may be called from inside.
kill_in_netns() {
    local pid inode spared
    spared=" $(own_ancestry) "
    inode=$(stat -Lc %i "/run/netns/$1" 2>/dev/null) || return 0
    for pid in $(ip netns pids "$1" 2>/dev/null); do
        [[ $spared != *" $pid "* ]] || continue
        [[ $(stat -Lc %i "/proc/$pid/ns/net" 2>/dev/null) == "$inode" ]] || continue
        kill -KILL "$pid" 2>/dev/null || true
    done
}

own_ancestry() {
    local pid=$$
    while ((pid > 1)); do
        printf '%s ' "$pid"
        pid=$(awk '$1 == "PPid:" { print $2 }' "/proc/$pid/status" 2>/dev/null) || break
    done
}
