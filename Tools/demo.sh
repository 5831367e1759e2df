#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Serves a model on a free port, runs several generations on one stream, and stops the server.
#   demo.sh SILICA MODEL
set -euo pipefail
silica=$1
model=$2
log=$(mktemp)
trap 'kill "$server" 2>/dev/null || true; rm -f "$log"' EXIT

echo "== silica serve --model $model --listen 127.0.0.1:0"
"$silica" serve --model "$model" --listen 127.0.0.1:0 >"$log" &
server=$!
for _ in $(seq 600); do
  grep -q '^silica: listening on ' "$log" && break
  kill -0 "$server" 2>/dev/null || { echo "demo: the server did not start" >&2; exit 1; }
  sleep 0.05
done
address=$(sed -n 's/^silica: listening on //p' "$log" | head -n 1)
[ -n "$address" ] || { echo "demo: the server is not ready after 30 s" >&2; exit 1; }

echo "== one stream, four generations; each line is one delta as it arrives"
"$silica" generate --target "$address" --max-tokens 24 --temperature 0.8 --seed 7 --usage \
  --chat "What does a scheduler do?" --chat "Name three rivers." \
  --chat "Tell me about streams." --chat "Count to five."

echo "== stopping the server"
kill -TERM "$server"
wait "$server"
echo "demo: done (the bundled model is untrained: its words are real, its sentences are not)"
