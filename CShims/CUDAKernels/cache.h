// SPDX-License-Identifier: Apache-2.0
// Where keys and values lie. Tokens of a block lie behind each other; a sequence's blocks anywhere.
// Of a sequence's blocks, a device holds every `slice_count`-th from `slice_index` on; its keys are
// counted without the others. `cache_layout.h` says what a row holds.
#pragma once
#include "device.h"

/// Keys up to a position that this device holds.
DEVICE int held_keys(const cu_step *step, int position) {
  if (step->slice_count == 1) return position + 1;
  const int block = position / step->block_tokens;
  const int before = (block - step->slice_index + step->slice_count - 1) / step->slice_count;
  const bool holds_last = block % step->slice_count == step->slice_index;
  return (before > 0 ? before * step->block_tokens : 0)
    + (holds_last ? position % step->block_tokens + 1 : 0);
}

/// The row of the cache of a held key, of the sequence whose blocks are at `blocks`.
DEVICE int64_t cache_row(const cu_step *step, const int32_t *blocks, int key) {
  const int block = key / step->block_tokens * step->slice_count + step->slice_index;
  return (int64_t)blocks[block] * step->block_tokens + key % step->block_tokens;
}
