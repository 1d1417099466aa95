#!/usr/bin/env bash
# Third step of a bake: the service's container image, built on the machine from the source that its RPM was built from.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: build_service_container.sh        (as root, after install_service_rpm.sh; may be run again)

Fetches one revision of the service's source, builds the image, and makes sure that it says what it was built from: its
label org.opencontainers.image.revision is the VCS tag of the service's RPM, letter by letter, since that is what the
agent compares before it flips.

Environment:
  SERVICE_SOURCE       git URL; or a directory that the service's own RPM brought, with a Dockerfile
                       (default: /usr/share/dualdeploy-sample). No password in the URL: it would be in logs.
  SERVICE_REVISION     a commit or a tag (default: the RPM's VCS tag). A branch is refused, since it moves
  SERVICE_MOVING       yes: take a branch as the commit that it is now, which is printed
  SERVICE_CONTEXT      the directory in the source that is built (default: .)
  SERVICE_DOCKERFILE   in that directory (default: Dockerfile). An ARG REVISION in it is given the revision
  SERVICE_IMAGE        the image's name and tag (default: dualdeploy-sample:latest)
  SERVICE_PACKAGE      the service's package (default: dualdeploy-sample)
  SERVICE_PARITY       off: the RPM says no revision, or another (services.d: `parity: false`)
TEXT
}

die() {
    echo "build_service_container.sh: $*" >&2
    exit 1
}

case "${1:-}" in --help | -h) usage; exit 0 ;; esac
[ $# -eq 0 ] || die "unknown: $1"
[ "$(id -u)" -eq 0 ] || die "it builds an image and has to be run as root"
# Nothing asks questions here; and sudo -E has kept the HOME of somebody else, where Debian's rpm has its database.
exec </dev/null
export HOME=/root GIT_TERMINAL_PROMPT=0 GIT_SSH_COMMAND="${GIT_SSH_COMMAND:-ssh -o BatchMode=yes}"
set -o errtrace # The trap holds in functions, too.
trap 'echo "build_service_container.sh: failed: $BASH_COMMAND" >&2' ERR

source=${SERVICE_SOURCE:-/usr/share/dualdeploy-sample}
revision=${SERVICE_REVISION:-}
moving=${SERVICE_MOVING:-}
context=${SERVICE_CONTEXT:-.}
dockerfile=${SERVICE_DOCKERFILE:-Dockerfile}
image=${SERVICE_IMAGE:-dualdeploy-sample:latest}
package=${SERVICE_PACKAGE:-dualdeploy-sample}
parity=${SERVICE_PARITY:-on}
case "$context" in /* | .. | ../* | */.. | */../*) die "SERVICE_CONTEXT is a directory in the source: $context" ;; esac

for command in docker git rpm; do
    command -v "$command" >/dev/null || die "$command is missing: bootstrap.sh comes first"
done
vcs=$(rpm -q --qf '%{VCS}' "$package" 2>/dev/null) || vcs="(none)"
if [ "$vcs" = "(none)" ]; then
    [ "$parity" = off ] ||
        die "the RPM $package is not installed or says no revision (spec file: VCS): nothing to compare with"
    vcs=""
fi

work=$(mktemp -d /var/tmp/dualdeploy-build.XXXXXX)
trap 'rm -rf "$work"' EXIT

# The service's own RPM has brought the source: nothing to fetch, and no doubt about its revision.
take_packaged() {
    local owner
    owner=$(rpm -qf --qf '%{NAME}' "$source" 2>/dev/null) || owner=""
    [ "$owner" = "$package" ] || die "$source is not of the package $package; if it is a git repository: file://$source"
    [ "${revision:-$vcs}" = "$vcs" ] || die "$source is revision ${vcs:-unknown}, as $package is, and not $revision"
    [ -n "$vcs" ] || die "$package says no revision (spec file: VCS)"
    cp -a "$source/." "$tree/"
    label=$vcs
    origin=$(rpm -q --qf '%{NAME}-%{VERSION}-%{RELEASE}' "$package")
}

# Which commit the revision is. All of the history is here, so that a shortened one is found, as RPMs have them.
resolve() { # REVISION
    local name=$1 commit
    commit_of() { git rev-parse --quiet --verify "$1^{commit}"; }
    if commit=$(commit_of "refs/remotes/origin/$name"); then
        [ "$moving" = yes ] || die "$name is a branch, which moves; give its commit, now $commit, or SERVICE_MOVING=yes"
    elif commit=$(commit_of "refs/tags/$name"); then
        :
    elif [[ $name =~ ^[0-9a-f]{7,40}$ ]] && commit=$(commit_of "$name"); then
        :
    elif [[ $name =~ ^[0-9a-f]{40}$ ]] && git fetch --quiet origin "$name"; then
        commit=$name # On no branch and not tagged, as commits of merge requests are.
    else
        die "$origin has no commit or tag $name"
    fi
    echo "$commit"
}

take_from_git() {
    local commit
    origin=$source
    # A password or token does not go into the label.
    if [[ $source =~ ^([a-z+]+://)[^/@]*@(.*)$ ]]; then origin=${BASH_REMATCH[1]}${BASH_REMATCH[2]}; fi
    revision=${revision:-$vcs}
    [ -n "$revision" ] || die "SERVICE_REVISION is missing, and $package says none"
    timeout 900 git clone --quiet --no-checkout -- "$source" "$tree" || die "cannot fetch $origin"
    cd "$tree" # git 1.8 of CentOS 7 has no -C.
    commit=$(resolve "$revision")
    echo "== $origin: $revision is commit $commit"
    git checkout --quiet --detach "$commit"
    if [ -e .gitmodules ]; then timeout 900 git submodule --quiet update --init --recursive; fi
    cd /
    label=$commit
    if [ "$parity" != off ]; then
        # The RPM may have it shortened.
        [[ ${#vcs} -ge 7 && $commit == "$vcs"* ]] ||
            die "$package was built from $vcs, and the source is $commit: the two sides would not be the same"
        label=$vcs
    fi
}

start_docker() {
    local attempt
    systemctl start docker.service || die "Docker does not start: systemctl status docker.service"
    for attempt in $(seq 30); do
        ! timeout 10 docker info >/dev/null 2>&1 || return 0
        sleep "$((attempt < 5 ? 1 : 2))"
    done
    die "Docker does not answer: docker info"
}

build() {
    local file=$tree/$context/$dockerfile
    local -a arguments=(--file "$file" --tag "$image"
        --label "org.opencontainers.image.revision=$label" --label "org.opencontainers.image.source=$origin")
    [ -f "$file" ] || die "$origin has no $context/$dockerfile"
    if grep -qi '^ARG[[:space:]]*REVISION\b' "$file"; then arguments+=(--build-arg "REVISION=$label"); fi
    timeout 3600 docker build "${arguments[@]}" "$tree/$context"
}

# Asked of the engine, as the agent will.
verify() {
    local says
    says=$(docker image inspect --format '{{index .Config.Labels "org.opencontainers.image.revision"}}' "$image") ||
        die "Docker has no image $image after the build"
    [ "$says" = "$label" ] || die "the image $image says revision '$says' and not '$label'"
}

tree=$work/source
mkdir "$tree"
if [ -d "$source" ]; then take_packaged; else take_from_git; fi
start_docker
build
verify
echo "== $image, revision $label, source $origin"
