// SPDX-License-Identifier: Apache-2.0
// What attention reads of the step's rows, as bfloat16: queries [rows, heads, key width], rows
// padded to 16 bytes; keys and values behind each other in the token's row of the cache.
//
// Where rotary embeddings stand directly before an attention, they are made here on the way. A
// thread takes four neighbouring columns.
#include "cache.h"
#include "rope.h"

namespace {

/// Four columns to a thread.
DEVICE int chunks_of_group(const cu_columns &columns) { return (columns.width + 3) / 4; }
DEVICE int chunks_of(const cu_columns &columns) {
  return chunks_of_group(columns) * columns.count;
}

DEVICE void narrow(bool is_aligned, const cu_columns &columns, const cu_turn &turn, int row,
                   int chunk, uint16_t *to, int group_stride) {
  const int index = chunk / chunks_of_group(columns);
  const int first = chunk % chunks_of_group(columns) * 4, width = columns.width;
  const float *group = columns.data + row * columns.stride + (int64_t)index * columns.group;
  uint16_t *place = to + index * group_stride + first;
  float x[4];
  UNROLL for (int i = 0; i < 4; i++) {
    x[i] = first + i < width ? turned_column(turn, row, group, first + i, width) : 0;
  }
  if (is_aligned) {
    *(Words2 *)place = {bf16_pair(x[0], x[1]), bf16_pair(x[2], x[3])};
    return;
  }
  UNROLL for (int i = 0; i < 4; i++) {
    if (first + i < width) place[i] = bf16_bits(x[i]);
  }
}

/// Where the cache has what a row adds to it, or null if it is not held here.
DEVICE uint16_t *cached_place(const cu_store &op, int row) {
  const int position = op.step->positions[row], block = position / op.step->block_tokens;
  if (block % op.step->slice_count != op.step->slice_index) return nullptr;
  const int32_t *blocks = op.step->blocks + op.step->row_blocks[row];
  return op.cache + cache_row(op.step, blocks, held_keys(op.step, position) - 1) * op.cache_stride;
}

}  // namespace

// Grid: blocks of `spread` for each row.
EARLY_KERNEL(store, cu_store, cu_threads) {
  const int row = block_x() / op.spread;
  if (row >= op.step->counts[0]) return wait_for_previous();
  int chunk = block_x() % op.spread * cu_threads + thread_index();
  const int64_t heads = op.queries[0].count;
  uint16_t *query_row = op.query_rows + row * heads * op.query_stride;
  uint16_t *cached = cached_place(op, row);
  wait_for_previous();
  UNROLL for (int i = 0; i < 2; i++) {
    const int count = chunks_of(op.queries[i]);
    if (chunk >= 0 && chunk < count) {
      narrow(op.is_aligned, op.queries[i], op.query_turns[i], row, chunk,
             query_row + i * op.queries[0].width, op.query_stride);
    }
    chunk -= count;
  }
  if (!cached) return;
  UNROLL for (int i = 0; i < 2; i++) {
    const int count = chunks_of(op.keys[i]), width = op.keys[i].width;
    if (chunk >= 0 && chunk < count) {
      narrow(op.is_aligned, op.keys[i], op.key_turns[i], row, chunk, cached, width);
    }
    chunk -= count;
    cached += width * op.keys[i].count;
  }
}
