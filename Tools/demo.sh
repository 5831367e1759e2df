#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Serves a model on a free port, talks with it, runs several generations on one stream, and stops
# the server.
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

echo "== a conversation; what stands in <think> are the model's thoughts"
# Thoughts go to standard error, the answer to standard output: together they read as they came.
"$silica" chat --target "$address" --temperature 0 2>&1 <<'END'
What can you do?
What is Silica?
What is 1997 + 7720?
Translate into Chinese: The teacher sold a blue sofa last week.
翻译成英文:医生明天会洗他的新外套。
END

echo "== one stream, four generations at once; each line is a part of one as it arrives"
"$silica" generate --target "$address" --temperature 0 --usage \
  --chat "What does a scheduler do?" --chat "Name three rivers." \
  --chat "What is 8 + 5?" --chat "Write 2024-03-15 in Chinese."

echo "== stopping the server"
kill -TERM "$server"
wait "$server"
echo "demo: done. The model is small and was trained on two cores: $model/README.md says what it"
echo "      knows. Ask it something: $silica chat --model $model"
