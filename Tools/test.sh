#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the tests that are built. After a failure it says once more, and last, what failed, which
# thousands of lines may have followed.
#   test.sh [OPTION OF swift test …]
set -uo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
swift test -c release --skip-build "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
if [ "$status" -ne 0 ]; then
  printf '\ntest: what failed, again:\n'
  grep -aE -A 4 'recorded an issue|rror: |Fatal |fatal: ' "$log" |
    grep -avE '^(◇|✔)' | cut -c 1-600 | head -n 100
fi
exit "$status"
