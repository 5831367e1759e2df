// SPDX-License-Identifier: Apache-2.0
// Attention over a paged cache, with grouped heads or over compressed keys (absorbed form).
//   store    the step's keys and values into the cache, as bfloat16.
//   attend   for each row, head and part of the keys: scores s = scale · q · k; their largest, m;
//            l = Σ exp(s - m); o = Σ exp(s - m) · v.
//   merge    M = largest m; output = Σ exp(m - M) · o / L, L = Σ exp(m - M) · l, over the parts in
//            order; log-sum-exp = M + log(L), or -inf and an output of 0 where there is no key.
//
// Shapes: queries [rows, heads, key width], in one part or two; cache [tokens, key and value rows],
// of which head h uses key h / heads_per_key. Compressed keys are one key head of all query heads,
// and the values are the keys' first columns.
//
// The same bits whatever else runs: parts are fixed by the number of a row's own keys (256 keys
// each, or what makes 16 parts), keys are taken in tiles of 32 in order.
//
// Ladder: the first version. Dot products are 32 bits without tensor cores, a warp for a key; each
// part reads a key once for its score, and its value once more.
#include "cache.h"

namespace {

constexpr int tile_keys = 32;
constexpr int heads_max = cu_attention_heads_max;
constexpr int columns_of_thread = cu_value_width_max / cu_attention_threads;

DEVICE float query(const cu_attention &op, int row, int head, int column) {
  const bool is_first = column < op.first.width;
  const cu_columns &part = is_first ? op.first : op.second;
  return part.data[row * part.stride + (int64_t)head * part.group
                   + (is_first ? column : column - op.first.width)];
}

/// Scores of a tile: a warp takes a key at a time, its lanes the key's columns.
DEVICE void score(const cu_attention &op, const float *queries, int heads, int key_head, int count,
                  const int64_t *rows, float (&scores)[heads_max][tile_keys]) {
  const int lane = thread_index() % 32;
  for (int t = thread_index() / 32; t < tile_keys; t += cu_attention_threads / 32) {
    if (t >= count) continue;
    const uint16_t *key = op.cache + rows[t] * op.cache_stride + key_head * op.key_width;
    float sums[heads_max] = {};
    for (int column = lane; column < op.key_width; column += 32) {
      const float k = float_of_bf16(key[column]);
      UNROLL for (int h = 0; h < heads_max; h++) {
        if (h < heads) sums[h] += queries[h * op.key_width + column] * k;
      }
    }
    UNROLL for (int h = 0; h < heads_max; h++) {
      if (h >= heads) continue;
      const float sum = sum_of_warp(sums[h]);
      if (lane == 0) scores[h][t] = sum * op.scale;
    }
  }
}

/// What is known of each head's scores so far.
struct Running {
  float largest[heads_max], denominator[heads_max], correction[heads_max];
};

/// Turns a tile's scores to weights: a warp takes a head at a time, its lanes the keys.
DEVICE void weigh(int heads, int count, float (&scores)[heads_max][tile_keys], Running &running) {
  const int lane = thread_index() % 32;
  for (int h = thread_index() / 32; h < heads; h += cu_attention_threads / 32) {
    const float score = lane < count ? scores[h][lane] : -INFINITE;
    const float before = running.largest[h];
    const float largest = fmaxf(before, largest_of_warp(score));
    const float weight = expf(score - largest);
    const float sum = sum_of_warp(weight);
    scores[h][lane] = weight;
    sync_warp();
    if (lane == 0) {
      const float correction = expf(before - largest);
      running.correction[h] = correction;
      running.denominator[h] = running.denominator[h] * correction + sum;
      running.largest[h] = largest;
    }
  }
}

DEVICE void mix(const cu_attention &op, int heads, int key_head, int count, const int64_t *rows,
                const float (&weights)[heads_max][tile_keys], const Running &running,
                float (&sums)[heads_max][columns_of_thread]) {
  UNROLL for (int h = 0; h < heads_max; h++) {
    const float correction = h < heads ? running.correction[h] : 0;
    UNROLL for (int j = 0; j < columns_of_thread; j++) sums[h][j] *= correction;
  }
  for (int t = 0; t < count; t++) {
    const uint16_t *value =
      op.cache + rows[t] * op.cache_stride + op.value_offset + key_head * op.value_width;
    UNROLL for (int j = 0; j < columns_of_thread; j++) {
      const int column = thread_index() + j * cu_attention_threads;
      if (column >= op.value_width) continue;
      const float v = float_of_bf16(value[column]);
      UNROLL for (int h = 0; h < heads_max; h++) sums[h][j] += weights[h][t] * v;
    }
  }
}

DEVICE void store_columns(const cu_columns &columns, int row, uint16_t *cached) {
  for (int i = thread_index(); i < columns.width * columns.count; i += cu_threads) {
    const int group = i / columns.width, column = i % columns.width;
    cached[i] = bf16_bits(
      columns.data[row * columns.stride + (int64_t)group * columns.group + column]);
  }
}

}  // namespace

// Grid: rows.
KERNEL(store, cu_store, cu_threads) {
  const int row = block_x();
  if (row >= op.step->counts[0]) return;
  const int position = op.step->positions[row], block = position / op.step->block_tokens;
  if (block % op.step->slice_count != op.step->slice_index) return;
  const int key = held_keys(op.step, position) - 1;
  const int64_t place =
    cache_row(op.step, op.step->blocks + op.step->row_blocks[row], key) * op.cache_stride;
  store_columns(op.first, row, op.cache + place);
  store_columns(op.second, row, op.cache + place + op.first.width * op.first.count);
}

// Grid: parts of the keys times parts of 8 query heads; key heads; rows from `first_row` on.
// Shared memory: 8 queries.
KERNEL(attend, cu_attention, cu_attention_threads) {
  DYNAMIC_SHARED(float, queries);
  SHARED float scores[heads_max][tile_keys];
  SHARED Running running;
  SHARED int64_t rows[tile_keys];
  const int row = op.first_row + block_z(), key_head = block_y();
  const int split = block_x() % cu_split_count;
  if (row >= op.step->counts[0]) return;
  const int keys = held_keys(op.step, op.step->positions[row]);
  const int size = keys_of_split(keys);
  const int end = keys < (split + 1) * size ? keys : (split + 1) * size;
  if (split * size >= end) return;
  const int skipped = block_x() / cu_split_count * heads_max;
  const int first_head = key_head * op.heads_per_key + skipped;
  const int heads = op.heads_per_key - skipped < heads_max ? op.heads_per_key - skipped : heads_max;
  for (int i = thread_index(); i < heads * op.key_width; i += cu_attention_threads) {
    queries[i] = query(op, row, first_head + i / op.key_width, i % op.key_width);
  }
  for (int i = thread_index(); i < heads_max * tile_keys; i += cu_attention_threads) {
    scores[i / tile_keys][i % tile_keys] = 0;
  }
  if (thread_index() < heads_max) {
    running.largest[thread_index()] = -INFINITE;
    running.denominator[thread_index()] = 0;
  }
  const int32_t *blocks = op.step->blocks + op.step->row_blocks[row];
  float sums[heads_max][columns_of_thread] = {};
  for (int first = split * size; first < end; first += tile_keys) {
    const int count = end - first < tile_keys ? end - first : tile_keys;
    if (thread_index() < count) {
      rows[thread_index()] = cache_row(op.step, blocks, first + thread_index());
    }
    sync_block();
    score(op, queries, heads, key_head, count, rows, scores);
    sync_block();
    weigh(heads, count, scores, running);
    sync_block();
    mix(op, heads, key_head, count, rows, scores, running, sums);
    sync_block();
  }
  const int all_heads = op.key_heads * op.heads_per_key;
  UNROLL for (int h = 0; h < heads_max; h++) {
    if (h >= heads) continue;
    const int64_t part =
      ((int64_t)block_z() * all_heads + first_head + h) * cu_split_count + split;
    UNROLL for (int j = 0; j < columns_of_thread; j++) {
      const int column = thread_index() + j * cu_attention_threads;
      if (column < op.value_width) op.parts[part * op.value_width + column] = sums[h][j];
    }
    if (thread_index() == 0) {
      op.part_scores[part * 2] = running.largest[h];
      op.part_scores[part * 2 + 1] = running.denominator[h];
    }
  }
}

// Grid: heads; rows from `first_row` on.
KERNEL(merge, cu_merge, cu_attention_threads) {
  const int row = op.first_row + block_y(), head = block_x();
  if (row >= op.step->counts[0]) return;
  const int keys = held_keys(op.step, op.step->positions[row]);
  const int size = keys_of_split(keys), splits = (keys + size - 1) / size;
  const int64_t first = ((int64_t)block_y() * op.heads + head) * cu_split_count;
  const float *scores = op.part_scores + first * 2;
  float largest = -INFINITE, denominator = 0;
  for (int i = 0; i < splits; i++) largest = fmaxf(largest, scores[2 * i]);
  for (int i = 0; i < splits; i++) {
    denominator += expf(scores[2 * i] - largest) * scores[2 * i + 1];
  }
  for (int column = thread_index(); column < op.value_width; column += cu_attention_threads) {
    float sum = 0;
    for (int i = 0; i < splits; i++) {
      sum += expf(scores[2 * i] - largest) * op.parts[(first + i) * op.value_width + column];
    }
    put(op.output, row, head * op.value_width + column, splits > 0 ? sum / denominator : 0.f);
  }
  if (op.log_sum_exp && thread_index() == 0) {
    op.log_sum_exp[row * op.log_stride + head] =
      splits > 0 ? largest + logf(denominator) : -INFINITE;
  }
}
