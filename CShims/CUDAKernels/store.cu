// SPDX-License-Identifier: Apache-2.0
// What attention reads of the step's rows, as bfloat16: queries [rows, heads, key width], rows
// padded to 16 bytes; keys and values behind each other in the token's row of the cache.
//
// A thread takes four neighbouring columns.
#include "cache.h"

namespace {

/// Four columns to a thread.
DEVICE int chunks_of_group(const cu_columns &columns) { return (columns.width + 3) / 4; }
DEVICE int chunks_of(const cu_columns &columns) {
  return chunks_of_group(columns) * columns.count;
}

DEVICE void narrow(bool is_aligned, const cu_columns &columns, int row, int chunk, uint16_t *to,
                   int group_stride) {
  const int group = chunk / chunks_of_group(columns);
  const int column = chunk % chunks_of_group(columns) * 4;
  const float *from =
    columns.data + row * columns.stride + (int64_t)group * columns.group + column;
  uint16_t *place = to + group * group_stride + column;
  if (is_aligned) {
    const Float4 x = *(const Float4 *)from;
    *(Words2 *)place = {bf16_pair(x.x, x.y), bf16_pair(x.z, x.w)};
    return;
  }
  for (int i = 0; i < 4 && column + i < columns.width; i++) place[i] = bf16_bits(from[i]);
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
      narrow(op.is_aligned, op.queries[i], row, chunk, query_row + i * op.queries[0].width,
             op.query_stride);
    }
    chunk -= count;
  }
  if (!cached) return;
  UNROLL for (int i = 0; i < 2; i++) {
    const int count = chunks_of(op.keys[i]), width = op.keys[i].width;
    if (chunk >= 0 && chunk < count) narrow(op.is_aligned, op.keys[i], row, chunk, cached, width);
    chunk -= count;
    cached += width * op.keys[i].count;
  }
}
