#!/usr/bin/env bash
# First step of a bake: Docker, helper tools and the agent on a bare CentOS 7, Amazon Linux 2023 or Debian 12.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bootstrap.sh [PACKAGE...]        (as root; may be run again)

Installs Docker (CentOS 7: 1.13 of its extras), git, curl, iptables or nftables, conntrack-tools and the agent's RPM,
and enables Docker and the agent for the next boot. PACKAGE: more packages of the distribution.

Environment:
  BAKE_RPMS             directory of RPM files on this machine (default: /var/tmp/dualdeploy-bake)
  BAKE_REPOSITORY       base URL of a yum repository, for packages that have no file there
  BAKE_REPOSITORY_KEY   URL of the key that its packages are signed with; without one the URL has to be https: or file:
  BAKE_CENTOS_VAULT     where CentOS 7's packages are since its mirrors were shut down
                        (default: http://vault.centos.org/7.9.2009; the packages are signed)
  AGENT_PACKAGE         the agent's package (default: dualdeploy)
TEXT
}

die() {
    echo "bootstrap.sh: $*" >&2
    exit 1
}

case "${1:-}" in --help | -h) usage; exit 0 ;; esac
[ "$(id -u)" -eq 0 ] || die "it installs packages and has to be run as root"
# Nothing asks questions here; and sudo -E has kept the HOME of somebody else, where Debian's rpm has its database.
exec </dev/null
export HOME=/root
set -o errtrace # The trap holds in functions, too.
trap 'echo "bootstrap.sh: failed: $BASH_COMMAND" >&2' ERR

rpms=${BAKE_RPMS:-/var/tmp/dualdeploy-bake}
repository=${BAKE_REPOSITORY:-}
repository_key=${BAKE_REPOSITORY_KEY:-}
vault=${BAKE_CENTOS_VAULT:-http://vault.centos.org/7.9.2009}
agent=${AGENT_PACKAGE:-dualdeploy}

# shellcheck disable=SC1091  # of the machine
system=$(. /etc/os-release && echo "${ID:-unknown}-${VERSION_ID:-}")
case "$system" in
centos-7 | centos-7.*) system=centos7 ;;
amzn-2023 | amzn-2023.*) system=amazon2023 ;;
debian-12) system=debian12 ;;
*) die "$system is neither CentOS 7 nor Amazon Linux 2023 nor Debian 12" ;;
esac

# Since June 2024 the lists of mirrors answer no more. Only lines that name CentOS's own hosts are changed.
use_vault() {
    local file
    for file in /etc/yum.repos.d/CentOS-*.repo; do
        [ -e "$file" ] || continue
        # shellcheck disable=SC2016  # $releasever is yum's
        sed -i -e 's|^mirrorlist=\(https\{0,1\}://mirrorlist\.centos\.org/\)|#mirrorlist=\1|' \
            -e 's|^#\{0,1\}baseurl=https\{0,1\}://mirror\.centos\.org/centos/$releasever/|baseurl='"$vault"'/|' "$file"
    done
}

# On disk, but switched off: the image must not depend on the repository of its bake.
add_repository() {
    [ -n "$repository" ] || return 0
    [ "$system" != debian12 ] || die "Debian has no use for a yum repository; put the RPM files into $rpms"
    case "$repository$repository_key" in *[[:space:]]*) die "a repository's URL has no blanks" ;; esac
    if [ -z "$repository_key" ]; then
        case "$repository" in
        https://* | file:///*) ;;
        *) die "without BAKE_REPOSITORY_KEY nothing vouches for packages that come from $repository" ;;
        esac
    fi
    {
        printf '[dualdeploy-bake]\nname=What this image was baked from\nbaseurl=%s\nenabled=0\n' "$repository"
        if [ -n "$repository_key" ]; then printf 'gpgcheck=1\ngpgkey=%s\n' "$repository_key"; else echo gpgcheck=0; fi
    } >/etc/yum.repos.d/dualdeploy-bake.repo
}

install() { # PACKAGE...: of the distribution
    case "$system" in
    debian12)
        # An image that has just booted may be updating itself.
        export DEBIAN_FRONTEND=noninteractive
        apt-get -q -o DPkg::Lock::Timeout=300 update
        apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold install --no-install-recommends "$@"
        ;;
    *) yum -y install "$@" ;;
    esac
}

# Looked for by their commands: the image may have them in packages of another name (docker-ce, curl-minimal).
tools() { # prints the packages that are missing
    local -a table
    case "$system" in
    centos7) table=(docker=docker git=git curl=curl iptables=iptables conntrack=conntrack-tools) ;;
    amazon2023) table=(docker=docker git=git curl=curl-minimal nft=nftables conntrack=conntrack-tools) ;;
    debian12) table=(docker=docker.io git=git curl=curl nft=nftables iptables=iptables conntrack=conntrack rpm=rpm) ;;
    esac
    local entry
    for entry in "${table[@]}"; do
        command -v "${entry%%=*}" >/dev/null || echo "${entry#*=}"
    done
}

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
        yum -y --enablerepo=dualdeploy-bake install "$1"
        rpm -q "$1" >/dev/null || die "$repository has no package $1"
        return 0
    fi
    has=$(rpm -q --qf "$query" "$1" 2>/dev/null) || has=""
    wants=$(rpm -qp --qf "$query" "$file" 2>/dev/null)
    [ "$has" != "$wants" ] || return 0
    if [ "$system" = debian12 ]; then
        # What it needs are Debian's packages, which this rpm does not know; they are installed above.
        rpm --force-debian --nodeps -U --replacepkgs "$file"
    elif [ -n "$has" ] && [ "${has% *}" = "${wants% *}" ]; then
        yum -y reinstall "$file"
    else
        yum -y install "$file"
    fi
}

# It may still be installing, or writing the lists of repositories.
if command -v cloud-init >/dev/null; then timeout 300 cloud-init status --wait >/dev/null 2>&1 || true; fi

[ "$system" != centos7 ] || use_vault
add_repository
mapfile -t missing < <(tools)
missing+=("$@")
if [ ${#missing[@]} -gt 0 ]; then
    echo "== installing ${missing[*]}"
    install "${missing[@]}"
fi
echo "== installing $agent"
install_rpm "$agent"
systemctl enable docker.service dualdeployd.socket dualdeployd.service

echo "== $(docker --version)"
echo "== $(rpm -q --qf '%{NAME}-%{VERSION}-%{RELEASE}, revision %{VCS}' "$agent")"
