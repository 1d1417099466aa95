# shellcheck shell=bash
# Messages, names, locks and records of processes. Sourced by ../instance.

readonly run_root=/run/dualdeploy-test
cache_root=${DUALDEPLOY_CACHE:-/var/cache/dualdeploy}
readonly cache_root
[[ $cache_root =~ ^/[^:,\\[:space:]]+$ ]] || {
    printf 'instance: error: DUALDEPLOY_CACHE must be an absolute path without blanks, colons and commas\n' >&2
    exit 2
}

note() { printf 'instance: %s\n' "$*" >&2; }

die() {
    note "error: $*"
    exit "${error_status:-1}"
}

usage_error() {
    note "error: $* (see --help)"
    exit "${error_status:-2}"
}

# Names become parts of host names, paths and namespace names.
check_name() {
    [[ $1 =~ ^[a-z][a-z0-9-]{0,31}$ ]] ||
        usage_error "'$1' is no instance name: a lower-case letter, then up to 31 of a-z, 0-9 and -"
}

state_dir() { printf '%s/%s' "$run_root" "$1"; }

# seconds_since START: START being an earlier $EPOCHREALTIME; prints "12.3".
seconds_since() {
    local tenths=$(((${EPOCHREALTIME/./} - ${1/./}) / 100000))
    printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

# A process is recorded as "PID STARTTIME BOOT-ID". A PID alone may since have
# been given to a stranger; together with the start time (field 22 of
# /proc/PID/stat, in ticks since the host's boot) it names one process.
process_identity() {
    local stat='' fields boot
    # Not $(<FILE): with a file that is missing it ends the whole shell.
    { read -rd '' stat <"/proc/$1/stat"; } 2>/dev/null || [[ -n $stat ]] || return 1
    read -ra fields <<<"${stat##*) }" # the command name may contain blanks and ')'
    [[ ${fields[0]} != [ZX] ]] || return 1
    boot=$(</proc/sys/kernel/random/boot_id)
    printf '%s %s %s' "$1" "${fields[19]}" "$boot"
}

# record_process FILE PID: written aside and renamed, so a reader never sees half.
record_process() {
    local identity
    identity=$(process_identity "$2") || return 1
    printf '%s\n' "$identity" >"$1.new.$BASHPID"
    mv -f "$1.new.$BASHPID" "$1"
}

# recorded_pid FILE: prints the PID if that very process is still alive.
recorded_pid() {
    local recorded
    { read -r recorded <"$1"; } 2>/dev/null || return 1
    [[ $(process_identity "${recorded%% *}") == "$recorded" ]] || return 1
    printf '%s' "${recorded%% *}"
}

kill_recorded() {
    local pid
    if pid=$(recorded_pid "$1"); then kill -KILL "$pid" 2>/dev/null || true; fi
}

# wait_until SECONDS COMMAND...: for what announces itself by no event that a
# shell could wait for, such as the end of a process that is not its child.
wait_until() {
    local deadline=$((${EPOCHREALTIME/./} + $1 * 1000000))
    shift
    until "$@"; do
        ((${EPOCHREALTIME/./} < deadline)) || return 1
        sleep 0.05
    done
}

not() { ! "$@"; }

# run_interruptible COMMAND...: bash runs its traps only between foreground
# commands, so a long one is put in the background and waited for.
run_interruptible() {
    local status=0
    "$@" &
    foreground_child=$!
    wait "$foreground_child" || status=$?
    foreground_child=
    return "$status"
}

# lock_instance NAME SECONDS: one change of an instance at a time. The lock is on
# the state directory itself, so that nothing is left when that is removed; the
# loop sees that the directory locked is the one now there. The lock ends with
# this process: children that stay must be started with {lock_fd}>&-.
lock_instance() {
    local directory
    directory=$(state_dir "$1")
    while true; do
        [[ -d $directory ]] || return 1
        { exec {lock_fd}<"$directory"; } 2>/dev/null || return 1
        flock -w "$2" "$lock_fd" ||
            die "instance $1 has been busy with another command for $2 s"
        [[ "$(stat -Lc %d:%i "/proc/self/fd/$lock_fd")" == "$(stat -c %d:%i "$directory" 2>/dev/null)" ]] &&
            return 0
        exec {lock_fd}<&-
    done
}

need_root() { [[ $EUID -eq 0 ]] || die "must be run as root"; }

# Installs what this script calls on the host, if it is missing.
need_host_tools() {
    local -A package_of=([debootstrap]=debootstrap [systemd-nspawn]=systemd-container
        [ip]=iproute2 [nsenter]=util-linux [flock]=util-linux)
    local tool
    local -a missing=()
    for tool in "${!package_of[@]}"; do
        command -v "$tool" >/dev/null || missing+=("${package_of[$tool]}")
    done
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || die "missing on this host: ${missing[*]}"
    note "installing on this host: ${missing[*]}"
    install_host_packages "${missing[@]}" >&2 || die "could not install: ${missing[*]}"
}

install_host_packages() {
    local -a options=(-qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
    export DEBIAN_FRONTEND=noninteractive
    apt-get "${options[@]}" install --no-install-recommends -y "$@" ||
        { apt-get "${options[@]}" update && apt-get "${options[@]}" install --no-install-recommends -y "$@"; }
}
