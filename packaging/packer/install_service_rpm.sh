#!/usr/bin/env bash
# Second step of a bake: the service as it always was, an RPM with a systemd unit, ready for the instance's start.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: install_service_rpm.sh        (as root, after bootstrap.sh; may be run again)

Installs the service's RPM, enables its unit for the next boot, and puts what the agent has to know of it into
/etc/dualdeploy/services.d, unless that is in the package.

Environment:
  SERVICE_PACKAGE       the service's package (default: dualdeploy-sample)
  SERVICE_UNIT          its unit (default: the package's .service, if it has exactly one)
  BAKE_RPMS             directory of RPM files on this machine (default: /var/tmp/dualdeploy-bake); *.yaml files there
                        go into services.d if the package has none
  BAKE_REPOSITORY       a yum repository, set up by bootstrap.sh, for a package that has no file there
TEXT
}

die() {
    echo "install_service_rpm.sh: $*" >&2
    exit 1
}

case "${1:-}" in --help | -h) usage; exit 0 ;; esac
[ $# -eq 0 ] || die "unknown: $1"
[ "$(id -u)" -eq 0 ] || die "it installs packages and has to be run as root"
# Nothing asks questions here; and sudo -E has kept the HOME of somebody else, where Debian's rpm has its database.
exec </dev/null
export HOME=/root
set -o errtrace # The trap holds in functions, too.
trap 'echo "install_service_rpm.sh: failed: $BASH_COMMAND" >&2' ERR

package=${SERVICE_PACKAGE:-dualdeploy-sample}
unit=${SERVICE_UNIT:-}
rpms=${BAKE_RPMS:-/var/tmp/dualdeploy-bake}
repository=${BAKE_REPOSITORY:-}
services=/etc/dualdeploy/services.d

for command in rpm dualctl; do
    command -v "$command" >/dev/null || die "$command is missing: bootstrap.sh comes first"
done

# The one file of a package among those uploaded; nothing if there is none.
rpm_file() { # PACKAGE
    local file name found=""
    for file in "$rpms"/*.rpm; do
        [ -e "$file" ] || continue
        name=$(rpm -qp --qf '%{NAME}' "$file" 2>/dev/null) || die "$file is not an RPM package"
        [ "$name" = "$1" ] || continue
        [ -z "$found" ] || die "$found and $file are both the package $1; leave one of them"
        found=$file
    done
    echo "$found"
}

# What is there already stays; another build of the same version replaces it.
install_rpm() { # PACKAGE
    local file has wants query='%{NAME}-%{VERSION}-%{RELEASE} %{SHA1HEADER}'
    file=$(rpm_file "$1")
    if [ -z "$file" ]; then
        [ -n "$repository" ] || die "there is no RPM file of $1 in $rpms, and BAKE_REPOSITORY names no repository"
        [ -e /etc/yum.repos.d/dualdeploy-bake.repo ] || die "bootstrap.sh has set up no repository"
        yum -y --enablerepo=dualdeploy-bake install "$1"
        rpm -q "$1" >/dev/null || die "$repository has no package $1"
        return 0
    fi
    has=$(rpm -q --qf "$query" "$1" 2>/dev/null) || has=""
    wants=$(rpm -qp --qf "$query" "$file" 2>/dev/null)
    [ "$has" != "$wants" ] || return 0
    if ! command -v yum >/dev/null; then
        # Debian: what it needs are Debian's packages, which this rpm does not know.
        rpm --force-debian --nodeps -U --replacepkgs "$file"
    elif [ -n "$has" ] && [ "${has% *}" = "${wants% *}" ]; then
        yum -y reinstall "$file"
    else
        yum -y install "$file"
    fi
}

enable_unit() {
    if [ -z "$unit" ]; then
        local -a units
        mapfile -t units < <(rpm -ql "$package" |
            sed -n 's|^\(/usr\)\{0,1\}/lib/systemd/system/\([^/@]*\.service\)$|\2|p')
        [ ${#units[@]} -eq 1 ] || die "$package has ${#units[@]} units; name the service's: SERVICE_UNIT"
        unit=${units[0]}
    fi
    systemctl enable "$unit"
}

# The package's own description of the service wins: it is what runs everywhere else.
install_description() {
    local file brings copied=""
    brings=$(rpm -ql "$package" | grep -c "^$services/.*\.yaml\$") || true
    [ "$brings" -eq 0 ] || return 0
    for file in "$rpms"/*.yaml; do
        [ -e "$file" ] || continue
        cp "$file" "$services/"
        chmod 0644 "$services/${file##*/}"
        copied=yes
    done
    [ -n "$copied" ] || die "neither $package nor $rpms has a .yaml for $services: the agent would not know the service"
}

echo "== installing $package"
install_rpm "$package"
enable_unit
install_description
dualctl check-config
echo "== $(rpm -q --qf '%{NAME}-%{VERSION}-%{RELEASE}, revision %{VCS}' "$package"), unit $unit"
