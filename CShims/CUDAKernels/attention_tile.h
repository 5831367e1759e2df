// SPDX-License-Identifier: Apache-2.0
// What a block of attention does with a tile of keys, for `m` tiles of 16 query rows.
#pragma once
#include "attention_order.h"

constexpr int attention_warps = cu_threads / 32;
constexpr int weight_stride = cu_tile_keys + cu_bank_columns;

DEVICE int padded(int width, int multiple) { return (width + multiple - 1) / multiple * multiple; }

/// Where things lie in a block's shared memory; strides are in elements. Of a cache in FP8 there is
/// one tile, and packed ones behind it.
struct TilePlaces {
  uint16_t *queries, *weights, *stages;
  int key_stride, value_stride, stage;

  DEVICE_MEMBER TilePlaces(const cu_attention &op, void *memory, int query_rows) {
    const bool has_values = op.cache.value_bytes != 0;
    key_stride = padded(op.key_width, cu_key_padding) + cu_bank_columns;
    value_stride = has_values ? padded(op.value_width, cu_value_padding) + cu_bank_columns : 0;
    stage = cu_tile_keys * (key_stride + value_stride);
    queries = (uint16_t *)memory;
    weights = queries + query_rows * key_stride;
    stages = weights + query_rows * weight_stride;
  }
  DEVICE_MEMBER uint16_t *keys(int index) const { return stages + index * stage; }
  /// Without values of their own, a key's first columns.
  DEVICE_MEMBER uint16_t *values(int index) const {
    return keys(index) + (value_stride ? cu_tile_keys * key_stride : 0);
  }
  DEVICE_MEMBER int stride_of_values() const { return value_stride ? value_stride : key_stride; }
};

/// Begins to copy the columns of a row, with zeros behind them or in their place. Eight threads
/// call it together.
DEVICE void fetch_row(bool is_aligned, bool is_there, uint16_t *to, const uint16_t *from,
                      int width, int padded_width) {
  const int first = thread_index() % 8 * 8;
  if (is_aligned) {
    UNROLL_BY(4) for (int column = first; column < padded_width; column += 64) {
      begin_copy(to + column, from + column, is_there && column < width);
    }
    return;
  }
  for (int column = first; column < padded_width; column += 64) {
    for (int i = column; i < column + 8; i++) to[i] = is_there && i < width ? from[i] : (uint16_t)0;
  }
}

/// Begins to copy a tile of `count` keys and their values; the rest becomes zeros. `rows` are those
/// of the cache. Each warp takes 8 keys: without other query rows, those that it has scores of.
DEVICE void fetch_tile(const cu_attention &op, const TilePlaces &places, int key_head, int stage,
                       const int64_t *rows, int count) {
  uint16_t *keys = places.keys(stage), *values = places.values(stage);
  UNROLL for (int i = 0; i < 2; i++) {
    const int key = thread_index() / 32 * 8 + i * 4 + thread_index() % 32 / 8;
    const bool is_there = key < count;
    const uint8_t *row = op.cache.rows + (is_there ? rows[key] * op.cache.stride : 0);
    fetch_row(op.is_aligned, is_there, keys + key * places.key_stride,
              (const uint16_t *)(row + key_head * op.cache.key_bytes), op.key_width,
              places.key_stride - cu_bank_columns);
    if (!places.value_stride) continue;
    row += op.cache.value_place + key_head * op.cache.value_bytes;
    fetch_row(op.is_aligned, is_there, values + key * places.value_stride, (const uint16_t *)row,
              op.value_width, places.value_stride - cu_bank_columns);
  }
}

/// What warps tell each other of a tile's scores; what becomes of the sums so far.
template <int m> struct SharedScores {
  /// By warps, and by 8 keys.
  alignas(16) float largest[16 * m][attention_warps / m], sums[16 * m][cu_tile_keys / 8];
  Fold to_group[16 * m], to_total[16 * m];
  Scores totals[16 * m];
};

/// The scores that a warp has of a tile: 16 query rows and 8 keys `m` times. Lane 4g + t has rows g
/// and g + 8, of each 8 keys the 2t-th and the next.
template <int m> struct WarpTile {
  int first_row, first_key, lane;
  float scores[m][4];

  DEVICE_MEMBER WarpTile() {
    const int warp = thread_index() / 32;
    lane = thread_index() % 32;
    first_row = warp % m * 16;
    first_key = warp / m * 8 * m;
  }
  DEVICE_MEMBER int row(int half) const { return first_row + 8 * half + lane / 4; }
  DEVICE_MEMBER int key(int eight) const { return first_key + 8 * eight + lane % 4 * 2; }

  /// Not yet scaled: even and odd steps of 16 columns apart, then added.
  DEVICE_MEMBER void score(const TilePlaces &places, const uint16_t *keys) {
    const int stride = places.key_stride;
    const uint16_t *key = keys + (first_key + lane % 8) * stride + lane / 8 * 8;
    const uint16_t *query = places.queries + (first_row + lane % 16) * stride + lane / 16 * 8;
    float odd[m][4] = {};
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < 4; j++) scores[i][j] = 0;
    UNROLL_BY(4) for (int k = 0; k < stride - cu_bank_columns; k += 32) {
      uint32_t even_a[4], odd_a[4], b[4];
      load_matrices(even_a, query + k);
      load_matrices(odd_a, query + k + 16);
      UNROLL for (int i = 0; i < m; i++) {
        load_matrices(b, key + 8 * i * stride + k);
        multiply_tile(scores[i], even_a, b[0], b[1]);
        multiply_tile(odd[i], odd_a, b[2], b[3]);
      }
    }
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < 4; j++) scores[i][j] += odd[i][j];
  }

  /// Scales the scores, drops those of keys that a row may not see, and gives the largest to the
  /// other warps.
  DEVICE_MEMBER void mask(float scale, int tile_key, const int *row_keys, SharedScores<m> &shared) {
    const int keys[2] = {row_keys[row(0)] - tile_key, row_keys[row(1)] - tile_key};
    float largest[2] = {-INFINITE, -INFINITE};
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < 4; j++) {
      const bool is_seen = key(i) + j % 2 < keys[j / 2];
      scores[i][j] = is_seen ? scores[i][j] * scale : -INFINITE;
      largest[j / 2] = fmaxf(largest[j / 2], scores[i][j]);
    }
    UNROLL for (int mask = 1; mask < 4; mask *= 2) UNROLL for (int half = 0; half < 2; half++) {
      largest[half] = fmaxf(largest[half], shuffle_xor(largest[half], mask));
    }
    UNROLL for (int half = 0; half < 2; half++) {
      if (lane % 4 == 0) shared.largest[row(half)][first_key / (8 * m)] = largest[half];
    }
  }

  /// Turns scores to weights for all warps, and gives them the sums of each 8 keys'.
  DEVICE_MEMBER void weigh(uint16_t *weights, SharedScores<m> &shared) {
    const float bases[2] = {exponent_base(largest_of_row(shared, row(0))),
                            exponent_base(largest_of_row(shared, row(1)))};
    float sums[m][2];
    UNROLL for (int i = 0; i < m; i++) {
      UNROLL for (int j = 0; j < 4; j++) scores[i][j] = exp2f(scores[i][j] - bases[j / 2]);
      UNROLL for (int half = 0; half < 2; half++) {
        sums[i][half] = scores[i][2 * half] + scores[i][2 * half + 1];
      }
    }
    UNROLL for (int mask = 1; mask < 4; mask *= 2) UNROLL for (int i = 0; i < 2 * m; i++) {
      sums[i / 2][i % 2] += shuffle_xor(sums[i / 2][i % 2], mask);
    }
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int half = 0; half < 2; half++) {
      if (lane % 4 == 0) shared.sums[row(half)][first_key / 8 + i] = sums[i][half];
      *(uint32_t *)(weights + row(half) * weight_stride + key(i)) =
        bf16_pair(scores[i][2 * half], scores[i][2 * half + 1]);
    }
  }

  DEVICE_MEMBER static float largest_of_row(const SharedScores<m> &shared, int row) {
    float largest = -INFINITE;
    UNROLL for (int i = 0; i < attention_warps / m; i++) {
      largest = fmaxf(largest, shared.largest[row][i]);
    }
    return largest;
  }
};

/// The column of a warp's sums that `chunk` of 16 begins with.
DEVICE int first_column(int chunk) { return (chunk * attention_warps + thread_index() / 32) * 16; }

/// Sums of a tile's values by weights, from zero: chunks of 16 columns, in two fragments of 8.
template <int m, int chunks>
DEVICE void mix(const TilePlaces &places, const uint16_t *values, int width,
                float (&sums)[m][chunks][2][4]) {
  const int lane = thread_index() % 32, stride = places.stride_of_values();
  const uint16_t *weight = places.weights + lane % 16 * weight_stride + lane / 16 * 8;
  const uint16_t *value = values + lane % 16 * stride + lane / 16 * 8;
  UNROLL for (int i = 0; i < m; i++) UNROLL for (int c = 0; c < chunks; c++) {
    UNROLL for (int j = 0; j < 4; j++) sums[i][c][0][j] = sums[i][c][1][j] = 0;
  }
  // Many sums leave no registers for the fragments of several steps.
  UNROLL_BY(m * chunks < 8 ? 4 : 1) for (int k = 0; k < cu_tile_keys; k += 16) {
    uint32_t a[m][4], b[4];
    UNROLL for (int i = 0; i < m; i++) load_matrices(a[i], weight + i * 16 * weight_stride + k);
    UNROLL for (int c = 0; c < chunks; c++) {
      if (first_column(c) >= width) continue;
      load_matrices_transposed(b, value + k * stride + first_column(c));
      UNROLL for (int i = 0; i < m; i++) {
        multiply_tile(sums[i][c][0], a[i], b[0], b[1]);
        multiply_tile(sums[i][c][1], a[i], b[2], b[3]);
      }
    }
  }
}
