// SPDX-License-Identifier: Apache-2.0
// What attention reads of the step's rows: queries [rows, heads, key width] as bfloat16, rows
// padded to 16 bytes; keys and values in the token's row of the cache, as bfloat16 or in FP8.
//
// Where rotary embeddings stand directly before an attention, they are made here on the way, and so
// is the norm of compressed keys (`norm.h`). A thread takes four neighbouring columns; in FP8, a
// warp all that share a scale, 128 at a time.
#include "cache_codes.h"
#include "norm.h"
#include "rope.h"

namespace {

/// Four columns to a thread.
DEVICE int chunks_of_group(const cu_columns &columns) { return (columns.width + 3) / 4; }
DEVICE int chunks_of(const cu_columns &columns) {
  return columns.data ? chunks_of_group(columns) * columns.count : 0;
}

/// Four columns as bfloat16, of which so many are there.
DEVICE void put_narrow(bool is_aligned, const Float4 &x, uint16_t *place, int count) {
  if (is_aligned) {
    *(Words2 *)place = {bf16_pair(x.x, x.y), bf16_pair(x.z, x.w)};
    return;
  }
  const float values[4] = {x.x, x.y, x.z, x.w};
  UNROLL for (int i = 0; i < 4; i++) {
    if (i < count) place[i] = bf16_bits(values[i]);
  }
}

/// Four neighbours of a group, turned; zeros from `end` on.
DEVICE Float4 turned_four(const cu_turn &turn, int row, const float *group, int first, int end,
                          int width) {
  float x[4];
  UNROLL for (int i = 0; i < 4; i++) {
    x[i] = first + i < end ? turned_column(turn, row, group, first + i, width) : 0;
  }
  return {x[0], x[1], x[2], x[3]};
}

DEVICE void narrow(bool is_aligned, const cu_columns &columns, const cu_turn &turn, int row,
                   int chunk, uint16_t *to, int group_stride) {
  const int index = chunk / chunks_of_group(columns);
  const int first = chunk % chunks_of_group(columns) * 4, width = columns.width;
  const float *group = columns.data + row * columns.stride + (int64_t)index * columns.group;
  const Float4 x = turned_four(turn, row, group, first, width, width);
  put_narrow(is_aligned, x, to + index * group_stride + first, width - first);
}

/// Where the cache has what a row adds to it, or null if it is not held here.
DEVICE uint8_t *cached_place(const cu_store &op, int row) {
  const int position = op.step->positions[row], block = position / op.step->block_tokens;
  if (block % op.step->slice_count != op.step->slice_index) return nullptr;
  const int32_t *blocks = op.step->blocks + op.step->row_blocks[row];
  const int64_t place = cache_row(op.step, blocks, held_keys(op.step, position) - 1);
  return op.cache.rows + place * op.cache.stride;
}

/// Stores chunks of queries, by their number, and takes theirs off it.
DEVICE void store_queries(const cu_store &op, int row, int &chunk) {
  const int64_t heads = op.queries[0].count;
  uint16_t *query_row = op.query_rows + row * heads * op.query_stride;
  UNROLL for (int i = 0; i < 2; i++) {
    const int count = chunks_of(op.queries[i]);
    if (chunk >= 0 && chunk < count) {
      narrow(op.is_aligned, op.queries[i], op.query_turns[i], row, chunk,
             query_row + i * op.queries[0].width, op.query_stride);
    }
    chunk -= count;
  }
}

/// Four codes; the inverse of a scale is a power of two, as that is.
DEVICE void put_codes_of_four(const Float4 &x, float inverse, uint8_t *place) {
  const uint8_t four[4] = {e4m3(x.x * inverse), e4m3(x.y * inverse), e4m3(x.z * inverse),
                           e4m3(x.w * inverse)};
  *(uint32_t *)place = Codes<cu_format_fp8>::word(four);
}

/// Where codes of columns end: in whole pieces.
DEVICE int end_of_codes(int end) {
  return (end + cu_cache_piece - 1) / cu_cache_piece * cu_cache_piece;
}

/// Columns of a row that share a scale, and where they go. A warp calls it together.
struct ScaledColumns {
  const cu_columns &columns;
  const cu_turn &turn;
  int row, group, first, end;

  DEVICE_MEMBER Float4 load(int column) const {
    const float *data = columns.data + row * columns.stride + (int64_t)group * columns.group;
    return turned_four(turn, row, data, column, end, columns.width);
  }

  DEVICE_MEMBER void store(uint8_t *codes, float *scale) const {
    const int lane = thread_index() % 32;
    uint32_t largest = 0;
    for (int column = first + 4 * lane; column < end; column += cu_scale_columns) {
      const uint32_t magnitude = largest_bits(load(column));
      largest = magnitude > largest ? magnitude : largest;
    }
    const float factor = cache_scale(largest_of_warp(largest));
    if (lane == 0) *scale = factor;
    const int padded_end = end_of_codes(end);
    for (int column = first + 4 * lane; column < padded_end; column += cu_scale_columns) {
      put_codes_of_four(load(column), 1 / factor, codes + column);
    }
  }
};

/// Stores codes and scale of one of a row's keys or values, or of a part of a compressed key.
DEVICE void store_codes(const cu_store &op, int row, int index, uint8_t *cached) {
  const int width = op.keys[0].width, head = index / 2;
  float *scale = (float *)(cached + op.cache.scale_place) + index;
  if (op.cache.value_bytes == 0) {
    const int first = index * cu_scale_columns, end = first + cu_scale_columns;
    if (first >= width) return;
    const ScaledColumns columns = {op.keys[0], op.key_turns[0], row, 0, first,
                                   end < width ? end : width};
    columns.store(cached, scale);
  } else if (head < op.keys[0].count) {
    const int i = index % 2;
    const ScaledColumns columns = {op.keys[i], op.key_turns[i], row, head, 0, op.keys[i].width};
    columns.store(cached + (i == 0 ? head * op.cache.key_bytes
                                   : op.cache.value_place + head * op.cache.value_bytes), scale);
  }
}

// MARK: The norm of compressed keys

static_assert(cu_value_width_max <= norm_pass, "a thread has four columns of a row");
static_assert(4 * 32 == cu_scale_columns, "a warp has those that share a scale");

/// The thread's four columns of a row, with the bits of `rms_norm`. A block calls it together.
struct NormedKey {
  const cu_norm norm;
  const int column = 4 * thread_index();
  Float4 weights[1];

  /// Asks for the norm's weights.
  DEVICE_MEMBER explicit NormedKey(const cu_store &op) : norm(norm_of(op)) {
    load_norm_weights(norm, column, weights);
  }

  DEVICE_MEMBER static cu_norm norm_of(const cu_store &op) {
    cu_norm norm = {};
    norm.input = op.keys[0], norm.weight = op.norm_weight, norm.epsilon = op.norm_epsilon;
    return norm;
  }

  /// Zeros beyond the last column, whatever the factor is.
  DEVICE_MEMBER Float4 load(int row) const {
    SHARED float scratch[cu_threads / 32];
    Float4 x[1];
    const NormRow input(norm, row);
    const float factor = norm_factor(norm, sum_of_block(input.sum(x), scratch));
    const Float4 y = normed(x[0], weights[0], factor);
    const int left = norm.input.width - column;
    return {left > 0 ? y.x : 0, left > 1 ? y.y : 0, left > 2 ? y.z : 0, left > 3 ? y.w : 0};
  }
};

/// - Parameter cached: where the row's key goes; null if it is not held here.
DEVICE void store_normed(const cu_store &op, int row, uint16_t *cached) {
  const NormedKey key(op);
  wait_for_previous();
  if (!cached) return;
  const Float4 x = key.load(row);
  const int left = key.norm.input.width - key.column;
  if (left > 0) put_narrow(op.is_aligned, x, cached + key.column, left);
}

DEVICE void store_normed_codes(const cu_store &op, int row, uint8_t *cached) {
  const NormedKey key(op);
  wait_for_previous();
  if (!cached) return;
  const Float4 x = key.load(row);
  const int warp = thread_index() / 32;
  if (warp * cu_scale_columns >= key.norm.input.width) return;
  const float factor = cache_scale(largest_of_warp(largest_bits(x)));
  if (thread_index() % 32 == 0) ((float *)(cached + op.cache.scale_place))[warp] = factor;
  if (key.column >= end_of_codes(key.norm.input.width)) return;
  put_codes_of_four(x, 1 / factor, cached + key.column);
}

// MARK: A block

/// Of the `spread` of each row, that of a number.
DEVICE void store_block(const cu_store &op, int number) {
  const int row = number / op.spread, block = number % op.spread;
  if (row >= op.step->counts[0]) return wait_for_previous();
  uint16_t *cached = (uint16_t *)cached_place(op, row);
  if (op.norm_weight && block == op.spread - 1) return store_normed(op, row, cached);
  int chunk = block * cu_threads + thread_index();
  wait_for_previous();
  store_queries(op, row, chunk);
  if (!cached) return;
  UNROLL for (int i = 0; i < 2; i++) {
    const int width = op.keys[i].width;
    const int count = i == 0 && op.norm_weight ? 0 : chunks_of(op.keys[i]);
    if (chunk >= 0 && chunk < count) {
      narrow(op.is_aligned, op.keys[i], op.key_turns[i], row, chunk, cached, width);
    }
    chunk -= count;
    cached += width * op.keys[i].count;
  }
}

/// Likewise in FP8; the first `plain_spread` of a row's blocks take chunks, a warp of the others
/// what shares a scale.
DEVICE void store_block_fp8(const cu_store &op, int number) {
  const int row = number / op.spread, block = number % op.spread;
  if (row >= op.step->counts[0]) return wait_for_previous();
  uint8_t *cached = cached_place(op, row);
  if (op.norm_weight && block == op.spread - 1) return store_normed_codes(op, row, cached);
  wait_for_previous();
  if (block >= op.plain_spread) {
    const int warp = (block - op.plain_spread) * (cu_threads / 32) + thread_index() / 32;
    if (cached) store_codes(op, row, warp, cached);
    return;
  }
  int chunk = block * cu_threads + thread_index();
  store_queries(op, row, chunk);
  if (!cached || op.cache.plain_columns == 0) return;
  uint16_t *plain = (uint16_t *)(cached + op.cache.plain_place);
  if (chunk >= 0 && chunk < chunks_of(op.keys[1])) {
    narrow(op.is_aligned, op.keys[1], op.key_turns[1], row, chunk, plain, op.keys[1].width);
  }
}

}  // namespace

// Grid: blocks of `spread` for each row.
EARLY_KERNEL(store, cu_store, cu_threads) { store_block(op, block_x()); }
EARLY_KERNEL(store_fp8, cu_store, cu_threads) { store_block_fp8(op, block_x()); }
