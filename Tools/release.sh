#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes dist/silica-VERSION-ARCH.tar.gz: the binary with Swift's runtime inside, and beside it the
# shared libraries that a bare Linux of the same kind or newer lacks.
set -euo pipefail
cd "$(dirname "$0")/.."
# An rpath relative to the binary finds lib/ wherever the tarball is unpacked; of the old kind,
# which holds for what the libraries need in turn.
swift build -c release --product silica --static-swift-stdlib --scratch-path .build/relocatable \
  -Xlinker --disable-new-dtags -Xlinker -rpath -Xlinker '$ORIGIN/../lib'
binary=.build/relocatable/release/silica
version=$("$binary" --version | cut -d' ' -f2)
name="silica-$version-$(uname -m)"
stage="dist/$name"
rm -rf "$stage"
mkdir -p "$stage/bin" "$stage/lib"
cp "$binary" "$stage/bin/"
strip "$stage/bin/silica"
cp -r Models/mini "$stage/"
cp README.md LICENSE "$stage/"
cp -r Proto Docs "$stage/"
# The C library and the loader belong to the system.
ldd "$binary" | awk '$3 ~ /^\// {print $3}' |
  grep -vE '/(libc|libm|libpthread|libdl|librt|libresolv|ld-linux[^/]*)\.so' |
  while read -r library; do cp -L "$library" "$stage/lib/"; done
tar -C dist -czf "dist/$name.tar.gz" "$name"
echo "dist/$name.tar.gz: $(du -h "dist/$name.tar.gz" | cut -f1)"
