#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes every stored golden and fixture again.
set -euo pipefail
cd "$(dirname "$0")/../.."
for script in Tools/oracle/make_*.py; do
  echo "== $script"
  .venv/bin/python "$script"
done
