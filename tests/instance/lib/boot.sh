# shellcheck shell=bash
# Booting, watching and ending an instance. Its state directory holds
#   disk, base     paths of its disk and of the base root below that
#   supervisor     the loop that boots it again after a reboot (a process record)
#   nspawn         systemd-nspawn of the boot now running (a process record)
#   cgroups        directories of its control groups
#   console.log    what the loop, nspawn and the instance's console print
#   exit           how the last boot ended
#   complete       exists once `up` has succeeded
# Sourced by ../instance.
: "${here:?}" "${cache_root:?}" "${run_root:?}"

readonly boot_deadline_s=90
readonly shutdown_deadline_s=90 # systemd's own limit for a unit that will not stop

# create_disk NAME IMAGE: an overlay on the base, or a copy where overlay is
# impossible; with what the instance IMAGE (if not empty) has written.
# The engines' data cannot be on an overlay (they make overlays themselves), so they
# are plain directories of the host.
create_disk() {
    local dir disk base image=${2:+$cache_root/instances/$2}
    dir=$(state_dir "$1")
    disk=$cache_root/instances/$1
    if [[ -n $image ]]; then base=$(<"$(state_dir "$2")/base"); else base=$(base_path); fi
    rm -rf --one-file-system "$disk" # of an instance whose state the host lost at its own reboot
    mkdir -p "$disk"/{upper,work,root,docker,containers}
    printf '%s\n' "$disk" >"$dir/disk"
    printf '%s\n' "$base" >"$dir/base"
    if [[ -n $image ]]; then
        cp -a --reflink=auto "$image/docker" "$image/containers" "$disk/"
        if [[ -d $image/upper ]]; then
            cp -a --reflink=auto "$image/upper" "$disk/"
        else
            rmdir "$disk"/{upper,work}
            cp -a --reflink=auto "$image/root/." "$disk/root/"
        fi
        return
    fi
    [[ -d $base ]] || die "the base root was just removed by another command; try again"
    # mount_disk runs in a mount namespace that ends with it.
    if unshare --mount --propagation private "$BASH" "$here/instance" __mount "$1" 2>/dev/null; then return 0; fi
    note "no overlay on this file system: copying the base root"
    rm -rf --one-file-system "${disk:?}"/{upper,work}
    cp -a --reflink=auto "$base/." "$disk/root/"
}

mount_disk() {
    local disk base
    disk=$(<"$(state_dir "$1")/disk")
    base=$(<"$(state_dir "$1")/base")
    [[ -d $disk/upper ]] || return 0 # a copy
    mount -t overlay overlay -o "lowerdir=$base,upperdir=$disk/upper,workdir=$disk/work" "$disk/root"
}

# start_supervisor NAME: the loop outlives this command, in a session of its own.
start_supervisor() {
    local dir supervisor
    dir=$(state_dir "$1")
    rm -f "$dir/exit"
    # shellcheck disable=SC2154 # lock_fd: every caller holds the lock, the loop must not
    env -i PATH="$PATH" HOME=/root LC_ALL=C DUALDEPLOY_CACHE="$cache_root" \
        setsid "$BASH" "$here/instance" __supervise "$1" \
        </dev/null >>"$dir/console.log" 2>&1 {lock_fd}>&- &
    supervisor=$!
    disown "$supervisor"
    record_process "$dir/supervisor" "$supervisor" || die "the supervisor of $1 ended at once (log: $dir/console.log)"
}

# supervise NAME: boots the instance as long as it ends by rebooting itself.
supervise() {
    local dir boot=0 nspawn code
    dir=$(state_dir "$1")
    while true; do
        boot=$((boot + 1))
        connect_server "$1"
        launch "$1" "$boot" &
        nspawn=$!
        record_process "$dir/nspawn" "$nspawn" || true
        if host_has_systemd; then record_scope "$1" "$boot" "$nspawn"; fi
        code=0
        wait "$nspawn" || code=$?
        rm -f "$dir/nspawn"
        disconnect_server "$1"
        remove_cgroups "$dir/cgroups" keep
        [[ $code -eq 133 ]] || break # 133: it rebooted itself
    done
    printf '%s\n' "$code" >"$dir/exit"
}

# launch NAME BOOT: becomes nspawn, in a mount namespace that ends with the boot.
launch() {
    local -a command=(unshare --mount --propagation slave "$BASH" "$here/instance" __boot "$1")
    if host_has_systemd; then
        command=(systemd-run --quiet --scope --collect --property=Delegate=yes
            --unit="dualdeploy-test-$1-$$-$2" -- "${command[@]}")
    else
        join_cgroups "$(state_dir "$1")/cgroups"
    fi
    exec "${command[@]}"
}

record_scope() {
    local scope=dualdeploy-test-$1-$$-$2 file
    file=$(state_dir "$1")/cgroups
    wait_until 10 grep -qF "/$scope.scope" "/proc/$3/cgroup" 2>/dev/null || return 0
    scope_cgroups "$scope" "$3" >"$file.new"
    mv -f "$file.new" "$file"
}

boot() {
    local disk
    disk=$(<"$(state_dir "$1")/disk")
    mount_disk "$1"
    # nspawn keeps a socket there that it cannot make a second time: without a
    # fresh directory a reboot fails.
    mkdir -p /run/systemd/nspawn
    mount -t tmpfs tmpfs /run/systemd/nspawn
    # The engine sets net.ipv4.ip_forward; the network's settings are the instance's own.
    export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
    exec systemd-nspawn --quiet --register=no --keep-unit --directory="$disk/root" --boot \
        --machine="$1" --bind="$disk/docker:/var/lib/docker" --bind="$disk/containers:/var/lib/containers" \
        --network-namespace-path="/run/netns/$(server_netns "$1")" \
        --capability=all --system-call-filter='@keyring bpf' \
        --resolv-conf=off --timezone=off --link-journal=no --console=read-only
}

# leader NAME: prints the PID of the instance's systemd: nspawn's child that is
# number 1 in its own PID namespace.
leader() {
    local nspawn child
    local -a children=()
    nspawn=$(recorded_pid "$(state_dir "$1")/nspawn") || return 1
    { read -ra children <"/proc/$nspawn/task/$nspawn/children"; } 2>/dev/null || true # no newline at its end
    for child in "${children[@]}"; do
        if grep -qE '^NSpid:.*[[:blank:]]1$' "/proc/$child/status" 2>/dev/null; then
            printf '%s' "$child"
            return 0
        fi
    done
    return 1
}

is_running() { recorded_pid "$(state_dir "$1")/supervisor" >/dev/null; }

need_leader() {
    [[ -d $(state_dir "$1") ]] || die "there is no instance $1"
    leader "$1" || die "instance $1 is not running"
}

# inside LEADER COMMAND...: with an environment that does not depend on the host's.
inside() {
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/root USER=root LANG=C.UTF-8 TERM="${TERM:-dumb}" nsenter -t "$1" -a -- "${@:2}"
}

# A leader that is another than the one before, with its bus there to be asked.
find_next_leader() {
    next_leader=$(leader "$1") || { not is_running "$1" && return 0 || return 1; }
    [[ $next_leader != "$2" && -S /proc/$next_leader/root/run/dbus/system_bus_socket ]]
}

# wait_up NAME [OLD-LEADER]: until the boot has ended in `running` or `degraded`.
wait_up() {
    local dir next_leader='' state='' seconds=$boot_deadline_s
    local -i deadline=$((${EPOCHREALTIME/./} + boot_deadline_s * 1000000))
    dir=$(state_dir "$1")
    [[ -z ${2:-} ]] || seconds=$((boot_deadline_s + shutdown_deadline_s))
    if wait_until "$seconds" find_next_leader "$1" "${2:-}"; then
        [[ -z ${2:-} ]] || deadline=$((${EPOCHREALTIME/./} + boot_deadline_s * 1000000))
        while [[ -n $next_leader && $state != running && $state != degraded ]]; do
            seconds=$(((deadline - ${EPOCHREALTIME/./}) / 1000000))
            if ((seconds <= 0)) || not is_running "$1"; then break; fi
            run_interruptible inside "$next_leader" timeout "$seconds" \
                systemctl is-system-running --wait >"$dir/system-state" 2>/dev/null || true
            state=$(<"$dir/system-state")
            [[ $state == running || $state == degraded ]] || sleep 0.1
        done
    fi
    case $state in
    running) ;;
    degraded)
        note "$1 is degraded; failed units:"
        inside "$next_leader" systemctl --no-legend --plain list-units --failed >&2 || true
        ;;
    *)
        note "$1 did not come up (state: ${state:-none}); the end of its console:"
        tail -n 40 "$dir/console.log" >&2 || true
        is_running "$1" || die "instance $1 ended while it booted (nspawn's exit status: $(cat "$dir/exit" 2>/dev/null || echo unknown))"
        die "instance $1 did not come up within $boot_deadline_s s"
        ;;
    esac
}

# cut_power NAME: everything of the instance at once. First the cable, since a
# kernel whose processes are killed still says goodbye to their peers, and a
# machine without power does not. Then the loop, or it would see a boot end; then
# PID 1, with which the kernel kills all processes of its PID namespace (those of
# containers and of `exec` too); then what is left in the control groups, which
# is nspawn.
# What this cannot show: the host's page cache survives, so data that were
# written and not fsynced are still there afterwards. A test of lost writes needs
# a machine whose disk forgets.
cut_power() {
    local dir pid
    dir=$(state_dir "$1")
    kill_recorded "$dir/supervisor"
    disconnect_server "$1"
    if pid=$(leader "$1"); then kill -KILL "$pid" 2>/dev/null || true; fi
    kill_recorded "$dir/nspawn"
    if [[ -e $dir/cgroups ]]; then
        wait_until 30 kill_cgroups "$dir/cgroups" || die "instance $1 has processes that cannot be killed"
        remove_cgroups "$dir/cgroups" keep
    fi
    wait_until 30 not recorded_pid "$dir/supervisor" >/dev/null || die "the supervisor of $1 cannot be killed"
    disconnect_server "$1" # had the loop just been about to boot
    rm -f "$dir/nspawn" "$dir/supervisor"
}

# destroy NAME: whatever is there of it, in whatever state.
destroy() {
    local dir disk
    dir=$(state_dir "$1")
    disk=$cache_root/instances/$1
    if [[ -d $dir ]]; then cut_power "$1"; fi
    destroy_network "$1"
    if [[ -s $dir/cgroups ]]; then remove_cgroups "$dir/cgroups"; fi
    if [[ -s $dir/disk ]]; then disk=$(<"$dir/disk"); fi
    rm -rf --one-file-system "$disk" "$dir"
    rmdir --ignore-fail-on-non-empty "${disk%/*}" "$run_root" 2>/dev/null || true
}
