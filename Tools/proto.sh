#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Regenerates every checked-in binding from its proto file. With --check, changes nothing and fails
# when a binding is not what its proto file gives.
set -eu
cd "$(dirname "$0")/.."

command -v protoc >/dev/null || {
  echo "proto.sh: protoc is missing; apt-get install protobuf-compiler libprotobuf-dev" >&2
  exit 1
}

swift build -c release --product protoc-gen-silica
plugin="$(swift build -c release --show-bin-path)/protoc-gen-silica"
fresh="$(mktemp -d)"
trap 'rm -rf "$fresh"' EXIT

# generate FOLDER IMPORTS FILE...: the files of one folder of bindings.
generate() {
  folder="$1"
  imports="$2"
  shift 2
  mkdir -p "$fresh/$folder"
  # /usr/include holds protobuf's own files: any.proto and duration.proto.
  protoc -I "$imports" -I /usr/include --plugin="$plugin" --silica_out="$fresh/$folder" "$@"
}

# shellcheck disable=SC2046 # The names of proto files hold no spaces.
generate Sources/Messages/Generated Proto \
  $(cd Proto && find . -name '*.proto' | sed 's|^\./||' | LC_ALL=C sort) \
  google/protobuf/any.proto google/protobuf/duration.proto
generate Sources/protoc-gen-silica/Generated Sources/protoc-gen-silica/Proto plugin.proto
# shellcheck disable=SC2046
generate Tests/WireTests/Generated Tests/WireTests/Proto \
  $(cd Tests/WireTests/Proto && find . -name '*.proto' | sed 's|^\./||' | LC_ALL=C sort)

status=0
for folder in Sources/Messages/Generated Sources/protoc-gen-silica/Generated \
  Tests/WireTests/Generated; do
  if [ "${1:-}" = --check ]; then
    diff -ru "$folder" "$fresh/$folder" || status=1
  else
    rm -rf "$folder"
    cp -r "$fresh/$folder" "$folder"
  fi
done
[ $status = 0 ] || echo "proto.sh: bindings differ from their proto files; run make proto" >&2
exit $status
