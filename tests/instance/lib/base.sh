# shellcheck shell=bash
# The base root that all instances share, read-only: built once, kept in the
# cache under a hash of its recipe. Sourced by ../instance.
: "${here:?}" "${cache_root:?}" "${run_root:?}"

readonly base_suite=bookworm
readonly base_packages=(
    systemd systemd-sysv dbus
    iproute2 nftables iptables conntrack socat curl
    rpm procps kmod busybox-static faketime
    docker.io
    podman crun conmon
    openssh-server sudo git
    nginx redis-server redis-tools dnsmasq-base bind9-dnsutils
)
# Of no use in a test, or slow: consoles, timers that fetch or clean, waiting for
# a network that is there before the boot; what belongs to the host's kernel
# rather than to an instance; and Debian's own units of programs that tests run
# in units of theirs (one on port 80 would be in the sample's way).
readonly base_masked=(
    console-getty.service container-getty@.service getty@.service getty.target
    systemd-networkd-wait-online.service systemd-networkd.service
    systemd-resolved.service systemd-timesyncd.service
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer
    e2scrub_all.timer e2scrub_reap.service fstrim.timer
    systemd-update-utmp.service systemd-update-utmp-runlevel.service
    sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount sys-fs-fuse-connections.mount
    modprobe@.service systemd-modules-load.service
    nginx.service redis-server.service ssh.service ssh.socket
    podman.socket podman.service podman-restart.service podman-auto-update.service podman-auto-update.timer
)

# The whole recipe as text: the functions below that build (bash prints them
# without comments), the lists above, the files of guest/.
recipe_hash() {
    {
        printf '%s\n' "$base_suite" "${base_packages[@]}" "${base_masked[@]}" "${DUALDEPLOY_BASE_PACKAGES:-}"
        declare -f build_base apt_in_base configure_base clean_base
        (cd "$here/guest" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
    } | sha256sum | cut -c1-16
}

base_path() { printf '%s/base-%s' "$cache_root" "$(recipe_hash)"; }

# ensure_base: builds the base root unless it is there. Prints nothing; the
# caller then takes base_path.
ensure_base() {
    local base started=$EPOCHREALTIME
    base=$(base_path)
    [[ ! -d $base ]] || return 0
    mkdir -p "$cache_root"
    exec {base_lock_fd}>"$cache_root/lock"
    run_interruptible flock -w 900 "$base_lock_fd" || die "another build of the base root has not ended within 900 s"
    if [[ ! -d $base ]]; then
        note "building the base root (a minute or two, kept in $base)"
        # Whoever made an older work directory held this lock, and is gone.
        rm -rf --one-file-system "$cache_root"/.build-*
        build_work=$(mktemp -d "$cache_root/.build-XXXXXX")
        # Namespaces of its own: an interrupted build leaves no process, no mount.
        run_interruptible env -i PATH="$PATH" HOME=/root LC_ALL=C DUALDEPLOY_CACHE="$cache_root" \
            DUALDEPLOY_BASE_PACKAGES="${DUALDEPLOY_BASE_PACKAGES:-}" \
            unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
            "$BASH" "$here/instance" __build-base "$build_work" </dev/null >"$cache_root/build.log" 2>&1 || {
            tail -n 25 "$cache_root/build.log" >&2
            die "the base root could not be built (log: $cache_root/build.log)"
        }
        sync -f "$build_work"
        mv -T "$build_work/root" "$base"
        rmdir "$build_work"
        build_work=
        remove_unused_bases "$base"
        note "base root built in $(seconds_since "$started") s"
    fi
    exec {base_lock_fd}>&-
}

# Bases of older recipes, unless an instance stands on them. Under the base lock;
# an `up` about to use one records that before it lets go of its own look at it.
remove_unused_bases() {
    local old used
    for old in "$cache_root"/base-*; do
        [[ $old != "$1" && -d $old ]] || continue
        used=$(grep -lxF -- "$old" "$run_root"/*/base 2>/dev/null || true)
        [[ -n $used ]] || rm -rf --one-file-system "$old"
    done
}

# The host's package sources for the suite, as "URI SUITE COMPONENT" lines. (A
# field that apt does not know, as the origin before any update, stays as written.)
host_sources() {
    # shellcheck disable=SC2016 # fields for apt, not for the shell
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' 'Created-By: Packages' 2>/dev/null |
        awk -v suite="$base_suite" '$2 ~ "^" suite "(-|$)" && $3 == "main" && ($4 == "Debian" || $4 == "$(ORIGIN)") { print $1, $2, $3 }' |
        sort -u
}

# build_base WORK: runs in namespaces of its own; the result is WORK/root.
build_base() {
    local root=$1/root sources mirror proxy=
    sources=$(host_sources || true)
    mirror=$(awk -v suite="$base_suite" '$2 == suite { print $1; exit }' <<<"$sources")
    if [[ -z $mirror ]]; then
        mirror=http://deb.debian.org/debian
        sources="$mirror $base_suite main"
    fi
    eval "$(apt-config shell proxy Acquire::http::Proxy)" # debootstrap's wget knows nothing of apt's proxy
    if [[ -n $proxy && $proxy != DIRECT ]]; then export http_proxy=$proxy https_proxy=$proxy; fi
    debootstrap --variant=minbase "$base_suite" "$root" "$mirror"
    # The build's own apt settings go into files that clean_base removes.
    awk '{ print "deb", $0 }' <<<"$sources" >"$root/etc/apt/sources.list"
    apt-config dump Acquire >"$root/etc/apt/apt.conf.d/00build"
    printf 'force-unsafe-io\n' >"$root/etc/dpkg/dpkg.cfg.d/build"
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # no service starts in a chroot
    chmod 755 "$root/usr/sbin/policy-rc.d"
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    if [[ -e /etc/ssl/certs/ca-certificates.crt ]]; then
        cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/apt/build-ca.crt"
        printf 'Acquire::https::CAInfo "/etc/apt/build-ca.crt";\n' >>"$root/etc/apt/apt.conf.d/00build"
    fi
    mount -t proc proc "$root/proc"
    apt_in_base "$root" update
    # shellcheck disable=SC2086 # a list of packages, split at blanks
    apt_in_base "$root" install --no-install-recommends "${base_packages[@]}" ${DUALDEPLOY_BASE_PACKAGES:-}
    umount "$root/proc"
    configure_base "$root"
    clean_base "$root"
}

apt_in_base() {
    local root=$1
    shift
    DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get -q -y -o Dpkg::Use-Pty=0 "$@"
}

configure_base() {
    local root=$1
    cp -R --no-preserve=all "$here/guest/." "$root/"
    systemctl --root="$root" --quiet mask "${base_masked[@]}"
    systemctl --root="$root" --quiet enable dualdeploy-test-cgroup.service docker.service
    systemctl --root="$root" --quiet set-default multi-user.target
    mkdir -p "$root/var/log/journal" "$root/var/lib/docker" "$root/var/lib/containers"
    printf '127.0.0.1 localhost\n::1 localhost\n192.0.2.1 server\n192.0.2.2 client\n' >"$root/etc/hosts"
    printf 'passwd: files\ngroup: files\nshadow: files\nhosts: files\n' >"$root/etc/nsswitch.conf"
}

# Whatever belongs to the build or to one machine. An empty machine-id is filled
# at an instance's first boot.
clean_base() {
    local root=$1
    rm -f "$root/usr/sbin/policy-rc.d" "$root/etc/dpkg/dpkg.cfg.d/build" \
        "$root/etc/apt/apt.conf.d/00build" "$root/etc/apt/build-ca.crt" "$root/etc/resolv.conf" \
        "$root/etc/hostname" "$root/var/lib/dbus/machine-id" "$root"/etc/ssh/ssh_host_*
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/lib/docker/* \
        "$root"/usr/share/{doc,man,locale}/*
    : >"$root/etc/machine-id"
}
