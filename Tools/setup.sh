#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what Silica needs and is missing.
#   setup.sh build    the libraries that the server is built with
#   setup.sh test     those, and what the tests compare with (protoc, C++ and Go gRPC, a .venv)
#   setup.sh bench    those of build, and what the peers of the benchmarks are built and traced with
#   setup.sh bench-llama  those of build, and llama.cpp
#   setup.sh quality  those of build, and what scores answers (sacrebleu)
#   setup.sh kernels  what compiles the GPU's kernels: nvcc, in .venv
#   setup.sh oracle   those of test, and what makes the goldens (torch, transformers)
set -euo pipefail
cd "$(dirname "$0")/.."

build_packages=(libgrpc-dev libnuma-dev libpcre2-dev libssl-dev zlib1g-dev)
test_packages=(g++ libgrpc++-dev libprotobuf-dev openssl pkg-config protobuf-compiler
  protobuf-compiler-grpc python3-venv
  golang-go golang-google-grpc-dev golang-github-golang-protobuf-1-5-dev
  protoc-gen-go-1-5 protoc-gen-go-grpc)
bench_packages=(g++ libgrpc++-dev libprotobuf-dev make pkg-config protobuf-compiler
  protobuf-compiler-grpc strace)

install_packages() {
  local missing=()
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
      missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  local root=()
  [ "$(id -u)" -eq 0 ] || root=(sudo)
  echo "setup: installing ${missing[*]}" >&2
  "${root[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -qq --no-install-recommends \
    "${missing[@]}" >/dev/null
}

# Installs a requirements file into .venv once for each version of the file.
install_python() {
  local stamp
  stamp=".venv/.$(basename "$1").$(cat Tools/requirements.txt "$1" | sha256sum | cut -c1-16)"
  [ -e "$stamp" ] && return
  [ -x .venv/bin/python ] || python3 -m venv .venv
  echo "setup: installing $1 into .venv" >&2
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$1"
  touch "$stamp"
}

command -v swift >/dev/null || {
  echo "setup: swift is not on the PATH; Silica needs Swift 6.3 (https://swift.org/install)" >&2
  exit 1
}
case "${1:-build}" in
  build) install_packages "${build_packages[@]}" ;;
  test)
    install_packages "${build_packages[@]}" "${test_packages[@]}"
    install_python Tools/requirements.txt
    ;;
  bench) install_packages "${build_packages[@]}" "${bench_packages[@]}" ;;
  bench-llama)
    install_packages "${build_packages[@]}" g++ python3-venv
    CMAKE_ARGS="-DGGML_NATIVE=ON" install_python Tools/requirements-bench.txt
    ;;
  quality)
    install_packages "${build_packages[@]}" python3-venv
    install_python Tools/requirements-quality.txt
    ;;
  kernels)
    install_packages g++ python3-venv
    install_python Tools/requirements-kernels.txt
    ;;
  oracle)
    install_packages "${build_packages[@]}" "${test_packages[@]}"
    install_python Tools/requirements.txt
    install_python Tools/requirements-oracle.txt
    ;;
  *)
    echo "usage: Tools/setup.sh build|test|bench|bench-llama|quality|kernels|oracle" >&2
    exit 2
    ;;
esac
