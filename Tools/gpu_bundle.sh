#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes dist/silica-gpu: all that a machine with an NVIDIA GPU needs to show what Silica does on it,
# as long as it is an x86-64 Linux with a driver for CUDA 13. Swift's runtime is inside the binary;
# the libraries that a bare Linux lacks, the kernels, the small model and what transformers answered
# for it lie beside it.
set -euo pipefail
cd "$(dirname "$0")/.."
size_max=60000000  # bytes
bundle=dist/silica-gpu
swift build -c release --product silica --static-swift-stdlib --scratch-path .build/relocatable \
  -Xlinker --disable-new-dtags -Xlinker -rpath -Xlinker '$ORIGIN/../lib'
binary=.build/relocatable/release/silica
rm -rf "$bundle"
mkdir -p "$bundle/bin" "$bundle/lib" "$bundle/goldens"
.venv/bin/python Tools/kernels.py "$bundle/lib/silica-kernels.fatbin"
cp "$binary" "$bundle/bin/"
strip "$bundle/bin/silica"
# The C library and the loader belong to the system.
ldd "$binary" | awk '$3 ~ /^\// {print $3}' |
  grep -vE '/(libc|libm|libpthread|libdl|librt|libresolv|ld-linux[^/]*)\.so' |
  while read -r library; do
    cp -L "$library" "$bundle/lib/"
    strip --strip-unneeded "$bundle/lib/$(basename "$library")"
  done
cp -r Models/mini "$bundle/"
cp Tests/Fixtures/mini/logits.npy Tests/Fixtures/mini/tokens.json "$bundle/goldens/"
cp Tools/gpu/verify Tools/gpu/bench Tools/gpu/README.md LICENSE "$bundle/"
cp Tools/gpu/compare.py Tools/gpu/torch_peer.py "$bundle/bin/"
size=$(find "$bundle" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
if [ "$size" -gt "$size_max" ]; then
  echo "gpu-bundle: $bundle has $size bytes; at most $size_max are allowed" >&2
  exit 1
fi
echo "$bundle: $((size / 1000000)) MB; on a machine with a GPU: $bundle/verify, $bundle/bench"
