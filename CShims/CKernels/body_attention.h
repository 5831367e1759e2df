// SPDX-License-Identifier: Apache-2.0
// Softmax attention over paged keys, some queries of one key head at a time. Keys are taken in
// blocks of up to 16 whose borders are fixed by position (they never cross a cache block); a block
// updates the running maximum, denominator and sum ("online softmax", Milakov and Gimelshein 2018).
// A key that a query may not see has weight 0 and changes nothing, so chunks do not matter.
#include <math.h>

#include "kernels.h"
#include "vector.h"

enum { QUERIES = 4, KEY_BLOCK = 16 };

/// Queries that are worked on together, and their results so far.
typedef struct {
  float *queries;               // [QUERIES][padded key width], zeros behind the width
  float *sums;                  // [QUERIES][padded value width]
  int64_t query_stride, sum_stride;
  int64_t limits[QUERIES];      // keys that each may see
  float largest[QUERIES], denominators[QUERIES];
  float weights[QUERIES][KEY_BLOCK], factors[QUERIES];
} attention_tile;

INLINE int64_t padded(int64_t width) { return (width + 15) / 16 * 16; }

/// Scores of `keys` neighbouring keys.
INLINE void score_keys(
    const ck_attention *a, attention_tile *t, const int queries, const int keys,
    const float *key, int64_t index) {
  v16f sums[QUERIES][4];
#pragma clang loop unroll(full)
  for (int q = 0; q < queries; q++)
#pragma clang loop unroll(full)
    for (int j = 0; j < keys; j++) sums[q][j] = splat(0);
  for (int64_t d = 0; d < a->key_width; d += 16) {
    v16f k[4];
#pragma clang loop unroll(full)
    for (int j = 0; j < keys; j++)
      k[j] = load_some(key + j * a->cache_width + d, a->key_width - d);
#pragma clang loop unroll(full)
    for (int q = 0; q < queries; q++) {
      const v16f x = load(t->queries + q * t->query_stride + d);
#pragma clang loop unroll(full)
      for (int j = 0; j < keys; j++) sums[q][j] = fma16(x, k[j], sums[q][j]);
    }
  }
#pragma clang loop unroll(full)
  for (int q = 0; q < queries; q++)
#pragma clang loop unroll(full)
    for (int j = 0; j < keys; j++) t->weights[q][index + j] = sum16(sums[q][j]) * a->scale;
}

/// Turns the scores of a block, whose first key is at `position`, into weights.
INLINE void weigh(attention_tile *t, const int queries, int64_t position) {
  for (int q = 0; q < queries; q++) {
    for (int j = 0; j < KEY_BLOCK; j++)
      if (position + j >= t->limits[q]) t->weights[q][j] = -INFINITY;
    const v16f scores = load(t->weights[q]);
    const float highest = largest16(scores);
    const float largest = highest > t->largest[q] ? highest : t->largest[q];
    if (largest == -INFINITY) {  // nothing to see yet
      t->factors[q] = 1;
      store(t->weights[q], splat(0));
      continue;
    }
    const v16f weights = exp16(scores - splat(largest));
    t->factors[q] = exp16(splat(t->largest[q] - largest)).x;
    t->denominators[q] = t->denominators[q] * t->factors[q] + sum16(weights);
    t->largest[q] = largest;
    store(t->weights[q], weights);
  }
}

/// Adds the weighted values of `keys` keys.
INLINE void add_values(
    const ck_attention *a, attention_tile *t, const int queries, const float *value,
    int64_t keys) {
  for (int64_t d = 0; d < a->value_width; d += 16) {
    v16f sums[QUERIES];
#pragma clang loop unroll(full)
    for (int q = 0; q < queries; q++)
      sums[q] = load(t->sums + q * t->sum_stride + d) * splat(t->factors[q]);
    for (int64_t j = 0; j < keys; j++) {
      const v16f v = load_some(value + j * a->cache_width + d, a->value_width - d);
#pragma clang loop unroll(full)
      for (int q = 0; q < queries; q++) sums[q] = fma16(splat(t->weights[q][j]), v, sums[q]);
    }
#pragma clang loop unroll(full)
    for (int q = 0; q < queries; q++) store(t->sums + q * t->sum_stride + d, sums[q]);
  }
}

INLINE void attend_block(
    const ck_attention *a, attention_tile *t, const int queries, const float *row,
    int64_t key_head, int64_t position, int64_t keys) {
  for (int q = 0; q < queries; q++) store(t->weights[q], splat(-INFINITY));
  const float *key = row + key_head * a->key_width;
  int64_t j = 0;
  for (; j + CK_KEYS <= keys; j += CK_KEYS)
    score_keys(a, t, queries, CK_KEYS, key + j * a->cache_width, j);
  for (; j < keys; j++) score_keys(a, t, queries, 1, key + j * a->cache_width, j);
  weigh(t, queries, position);
  add_values(a, t, queries, row + a->value_offset + key_head * a->value_width, keys);
}

/// All keys that this device holds and some query of the tile may see.
INLINE void attend(
    const ck_attention *a, const ck_step *step, const ck_sequence *sequence, attention_tile *t,
    const int queries, int64_t key_head) {
  const int64_t limit = t->limits[queries - 1];  // rows rise within a tile
  for (int64_t block = step->slice_index; block * step->block_tokens < limit;
       block += step->slice_count) {
    const float *rows =
        a->cache + sequence->blocks[block] * step->block_tokens * a->cache_width;
    const int64_t position = block * step->block_tokens;
    const int64_t visible =
        limit - position < step->block_tokens ? limit - position : step->block_tokens;
    for (int64_t j = 0; j < visible; j += KEY_BLOCK) {
      const int64_t keys = visible - j < KEY_BLOCK ? visible - j : KEY_BLOCK;
      attend_block(a, t, queries, rows + j * a->cache_width, key_head, position + j, keys);
    }
  }
}

#define DEFINE_ATTEND(queries)                                                             \
  static __attribute__((noinline)) void attend_##queries(                                  \
      const ck_attention *a, const ck_step *step, const ck_sequence *sequence,             \
      attention_tile *t, int64_t key_head) {                                               \
    attend(a, step, sequence, t, queries, key_head);                                       \
  }
DEFINE_ATTEND(1)
DEFINE_ATTEND(2)
DEFINE_ATTEND(3)
DEFINE_ATTEND(4)

static void gather_query(const ck_attention *a, int64_t row, int64_t head, float *out) {
  memset(out, 0, (size_t)padded(a->key_width) * sizeof(float));
  for (int part = 0; part < 2; part++) {
    const ck_columns *c = &a->parts[part];
    if (c->width == 0) continue;
    memcpy(out, c->data + row * c->stride + head * c->group, (size_t)c->width * sizeof(float));
    out += c->width;
  }
}

static void finish_query(
    const ck_attention *a, const attention_tile *t, int q, int64_t row, int64_t head) {
  float *out = a->output + (row * a->heads + head) * a->value_width;
  const float *sums = t->sums + q * t->sum_stride;
  const float denominator = t->denominators[q] > 0 || isnan(t->denominators[q])
      ? t->denominators[q] : 1;
  for (int64_t d = 0; d < a->value_width; d++) out[d] = sums[d] / denominator;
  if (a->log_sum_exp == NULL) return;
  const int saw_none = t->largest[q] == -INFINITY;
  a->log_sum_exp[row * a->heads + head] =
      saw_none ? -INFINITY : t->largest[q] + logf(t->denominators[q]);
}

/// Queries `first ..< first + count` of one key head of a sequence, numbered by row, then head.
static void attend_tile(
    const ck_attention *a, const ck_step *step, const ck_sequence *sequence, int64_t key_head,
    int64_t first, int count, float *scratch) {
  const int64_t group = a->heads / a->key_heads;
  attention_tile t;
  t.query_stride = padded(a->key_width);
  t.sum_stride = padded(a->value_width);
  t.queries = scratch;
  t.sums = scratch + QUERIES * t.query_stride;
  memset(t.sums, 0, (size_t)(count * t.sum_stride) * sizeof(float));
  for (int q = 0; q < count; q++) {
    const int64_t row = (first + q) / group, head = key_head * group + (first + q) % group;
    gather_query(a, sequence->first_row + row, head, t.queries + q * t.query_stride);
    t.limits[q] = sequence->position + row + 1;
    t.largest[q] = -INFINITY;
    t.denominators[q] = 0;
  }
  switch (count) {
    case 1: attend_1(a, step, sequence, &t, key_head); break;
    case 2: attend_2(a, step, sequence, &t, key_head); break;
    case 3: attend_3(a, step, sequence, &t, key_head); break;
    default: attend_4(a, step, sequence, &t, key_head); break;
  }
  for (int q = 0; q < count; q++) {
    const int64_t row = (first + q) / group, head = key_head * group + (first + q) % group;
    finish_query(a, &t, q, sequence->first_row + row, head);
  }
}

static void run_attention(const void *arguments, const ck_step *step, ck_worker *worker) {
  const ck_attention *a = arguments;
  const int64_t group = a->heads / a->key_heads;
  int64_t unit = ck_claim(worker), begin = 0;
  for (int64_t i = 0; i < step->sequence_count; i++) {
    const ck_sequence *sequence = &step->sequences[i];
    const int64_t queries = sequence->rows * group;
    const int64_t tiles = (queries + QUERIES - 1) / QUERIES;
    for (; unit < begin + a->key_heads * tiles; unit = ck_claim(worker)) {
      const int64_t key_head = (unit - begin) / tiles;
      const int64_t first = (unit - begin) % tiles * QUERIES;
      const int64_t left = queries - first;
      attend_tile(a, step, sequence, key_head, first, left < QUERIES ? (int)left : QUERIES,
                  worker->scratch);
    }
    begin += a->key_heads * tiles;
  }
}
