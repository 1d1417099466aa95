#!/usr/bin/env bash
# After the bake: instances of the new AMI give their metadata to IMDSv2 requests only. Packer 1.6 has no word for it.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: require_imdsv2.sh MANIFEST

MANIFEST is what Packer's post-processor of that name wrote; the AMIs of its last build are changed. Needs the command
`aws` and the permission ec2:ModifyImageAttribute.

Environment:
  IMDSV2   required: fail if it cannot be done (default)
           try: then only say so, with the command to be run
           optional: do nothing, for software on the image that asks the old way
  BAKE_ACCESS_KEY, BAKE_SECRET_KEY   Packer's credentials, if it was given any (default: those that `aws` finds)
TEXT
}

die() {
    echo "require_imdsv2.sh: $*" >&2
    exit 1
}

case "${1:-}" in --help | -h) usage; exit 0 ;; esac
[ $# -eq 1 ] || die "usage: require_imdsv2.sh MANIFEST"
case "${IMDSV2:=required}" in
required | try) ;;
optional) exit 0 ;;
*) die "IMDSV2 is required, try or optional, not $IMDSV2" ;;
esac
if [ -n "${BAKE_ACCESS_KEY:-}" ]; then
    export AWS_ACCESS_KEY_ID=$BAKE_ACCESS_KEY AWS_SECRET_ACCESS_KEY=${BAKE_SECRET_KEY:-}
fi

artifacts=$(sed -n 's/.*"artifact_id": *"\([^"]*\)".*/\1/p' "$1" | tail -n 1)
[ -n "$artifacts" ] || die "$1 names no AMI"
IFS=, read -ra artifacts <<<"$artifacts"
for artifact in "${artifacts[@]}"; do # REGION:AMI
    command=(aws ec2 modify-image-attribute --region "${artifact%%:*}" --image-id "${artifact#*:}" --imds-support v2.0)
    if "${command[@]}"; then
        echo "$artifact: IMDSv2 required"
    elif [ "$IMDSV2" = try ]; then
        echo "require_imdsv2.sh: $artifact does NOT require IMDSv2; to be run: ${command[*]}" >&2
    else
        die "$artifact does not require IMDSv2; to be run: ${command[*]}"
    fi
done
