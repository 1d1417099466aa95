# shellcheck shell=bash
# Every instance has control groups of its own, below the caller's: what runs in
# it is found there, and what its engine leaves there is removed with it.
# On a host run by systemd a delegated scope takes their place, since systemd
# wants no others to make groups in its tree. Sourced by ../instance.

host_has_systemd() { [[ -d /run/systemd/system ]]; }

# "CGROUP-PATH MOUNTPOINT MOUNT-ROOT" of every hierarchy that process PID is in.
cgroups_of() {
    local controllers path
    while IFS=: read -r _ controllers path; do
        awk -v controllers="$controllers" -v path="$path" '
            { separator = 0
              for (i = 7; i <= NF; i++) if ($i == "-") { separator = i; break }
              type = $(separator + 1); options = "," $(separator + 3) "," }
            (controllers == "" && type == "cgroup2") ||
            (controllers != "" && type == "cgroup" && index(options, "," controllers ",")) {
                print path, $5, $4; exit }' /proc/self/mountinfo
    done <"/proc/$1/cgroup"
}

# plan_cgroups NAME: prints the directories of its groups, one a line.
plan_cgroups() {
    local path mountpoint root
    while read -r path mountpoint root; do
        [[ $root == / ]] || path=${path#"$root"}
        [[ ! -d $mountpoint$path ]] || printf '%s/dualdeploy-test-%s\n' "$mountpoint${path%/}" "$1"
    done < <(cgroups_of self)
}

# create_cgroups FILE: those planned there. Written before they are made, so that
# none is forgotten; one that cannot be made is done without.
create_cgroups() {
    local directory parent file
    while read -r directory; do
        parent=${directory%/*}
        if [[ -e $parent/cgroup.subtree_control ]]; then enable_controllers "$parent"; fi
        mkdir -p "$directory" 2>/dev/null || continue
        for file in cpuset.cpus cpuset.mems; do # v1: empty in a new group, and then nothing can join
            if [[ -e $parent/$file && ! -e $directory/cgroup.subtree_control ]]; then
                cat "$parent/$file" >"$directory/$file"
            fi
        done
    done <"$1"
}

# scope_cgroups SCOPE PID: the directories of a scope that PID has been put into;
# nspawn itself sits in a group below.
scope_cgroups() {
    local path mountpoint root
    while read -r path mountpoint root; do
        [[ $root == / ]] || path=${path#"$root"}
        [[ $path == */"$1".scope* ]] || continue
        printf '%s%s\n' "$mountpoint" "${path%%/"$1".scope*}/$1.scope"
    done < <(cgroups_of "$2")
}

# cgroup v2: a group that holds processes can hand no controllers down, unless it
# is the root. Without them containers run as well, only without limits.
enable_controllers() {
    local controller controllers
    read -r controllers <"$1/cgroup.controllers"
    for controller in $controllers; do
        { echo "+$controller" >"$1/cgroup.subtree_control"; } 2>/dev/null || true
    done
}

# join_cgroups FILE: puts the calling process into the groups listed there.
join_cgroups() {
    local directory
    while read -r directory; do
        [[ ! -d $directory ]] || echo "$BASHPID" >"$directory/cgroup.procs"
    done <"$1"
}

# Processes in the groups listed in FILE, and in the groups below them.
cgroup_pids() {
    local directory
    while read -r directory; do
        [[ ! -d $directory ]] || find "$directory" -name cgroup.procs -exec cat {} + 2>/dev/null
    done <"$1" | sort -un
}

# kill_cgroups FILE: one round of killing what is in them, by pid; succeeds once
# nothing is. A frozen process of cgroup v1 (a paused container) dies when thawed.
kill_cgroups() {
    local directory pid
    local -a pids
    mapfile -t pids < <(cgroup_pids "$1")
    ((${#pids[@]})) || return 0
    for pid in "${pids[@]}"; do
        kill -KILL "$pid" 2>/dev/null || true
    done
    while read -r directory; do
        [[ -d $directory ]] || continue
        find "$directory" -name freezer.state -exec sh -c 'for f; do echo THAWED >"$f"; done' sh {} + 2>/dev/null || true
    done <"$1"
    return 1
}

# remove_cgroups FILE [keep]: the groups below, deepest first; and the groups
# themselves, unless they are to be used again.
remove_cgroups() {
    local directory deepest_first
    local -i minimum_depth=0
    [[ ${2:-} != keep ]] || minimum_depth=1
    while read -r directory; do
        [[ -d $directory ]] || continue
        deepest_first=$(find "$directory" -mindepth "$minimum_depth" -depth -type d)
        [[ -z $deepest_first ]] || xargs -d '\n' rmdir <<<"$deepest_first" 2>/dev/null || true
    done <"$1"
}
