// SPDX-License-Identifier: Apache-2.0
// Attention of some queries of one key head to a span of keys: four groups of 16 at most, whose
// borders are fixed by position. A span updates the running maximum, denominator and sum ("online
// softmax", Milakov and Gimelshein 2018). Scores are sums of multiples of a panel's rows, results
// of values' rows, so neither adds across lanes. A key that a query may not see has weight 0 and
// changes nothing, so neither chunks nor tiles matter.
#pragma once
#include <math.h>

#include "body_cache.h"
#include "kernels.h"
#include "pairs.h"
#include "vector.h"

enum { SPAN_GROUPS = CK_SPAN_TOKENS / CK_GROUP_TOKENS };

/// Up to four groups that follow each other, where this device has not all, among those it has.
typedef struct {
  const uint32_t *keys[SPAN_GROUPS], *values[SPAN_GROUPS];
  int64_t value_stride;
  int64_t positions[SPAN_GROUPS];
  /// Tokens that a block has in the group.
  int64_t tokens[SPAN_GROUPS];
  int groups;
} attention_span;

/// Queries that are multiplied together, and their results so far of a part of the context.
typedef struct {
  int count;
  float *queries;                    // [elements of a key][count]; of pairs as many words
  float *sums;                       // [count][sum_stride], as `load_pair` orders elements
  int64_t sum_stride;
  int64_t limits[CK_QUERIES];        // keys that each may see, rising
  float largest[CK_QUERIES], denominators[CK_QUERIES];
} attention_tile;

/// What a query has of the parts so far: `sums` over `denominator`, weights being e^(score -
/// largest).
typedef struct {
  float *sums;
  float largest, denominator;
} attention_result;

/// Adds what the next part gave; one in which the query saw nothing changes nothing.
static void add_part(attention_result *all, const attention_result *part, int64_t width) {
  if (part->largest == -INFINITY) return;
  if (all->largest == -INFINITY) {
    memcpy(all->sums, part->sums, (size_t)width * sizeof(float));
    all->largest = part->largest;
    all->denominator = part->denominator;
    return;
  }
  const float largest = part->largest <= all->largest ? all->largest : part->largest;
  const float changes[16] = {all->largest - largest, part->largest - largest};
  const v16f factors = exp16(load(changes));
  for (int64_t d = 0; d < width; d += 16) {
    const v16f scaled = load(part->sums + d) * splat(factors[1]);
    store(all->sums + d, fma16(load(all->sums + d), splat(factors[0]), scaled));
  }
  all->denominator = all->denominator * factors[0] + part->denominator * factors[1];
  all->largest = largest;
}

/// A tile within a span: scores, which become weights, and factors for the sums so far.
typedef struct {
  float weights[CK_QUERIES][CK_SPAN_TOKENS];
  float factors[16];
  /// Tokens of each group that some query sees.
  int64_t visible[SPAN_GROUPS];
  int groups;
#if CK_BF16_PAIRS
  /// The weights of two neighbouring tokens each, rounded.
  uint32_t pairs[CK_QUERIES][CK_SPAN_TOKENS / 2];
#endif
} attention_weights;

#if CK_BF16_PAIRS
INLINE void score_pairs(
    const uint32_t *query, const int queries, const int groups, const uint32_t *const *keys,
    int64_t words, v16f sums[][SPAN_GROUPS]) {
  for (int64_t word = 0; word < words; word++, query += queries) {
    v16u k[SPAN_GROUPS];
#pragma clang loop unroll(full)
    for (int g = 0; g < groups; g++) k[g] = load_words(keys[g] + word * CK_GROUP_TOKENS);
#pragma clang loop unroll(full)
    for (int q = 0; q < queries; q++)
#pragma clang loop unroll(full)
      for (int g = 0; g < groups; g++) sums[q][g] = dot2(sums[q][g], k[g], splat_pair(query[q]));
  }
}

/// Adds what two neighbouring tokens of a group give; a second one that no query sees is not read.
INLINE void add_pairs(
    const uint32_t *value, int64_t stride, const uint32_t *pairs, int64_t visible,
    const int queries, v16f sums[][2]) {
  for (int64_t j = 0; j < visible; j += 2, value += 2 * stride, pairs++) {
    const v16u first = load_words(value);
    const v16u second = j + 1 < visible ? load_words(value + stride) : (v16u)(0u);
    const v16u v[2] = {
      (first & 0xFFFFu) | second << 16, first >> 16 | (second & 0xFFFF0000u)};
#pragma clang loop unroll(full)
    for (int q = 0; q < queries; q++)
#pragma clang loop unroll(full)
      for (int half = 0; half < 2; half++)
        sums[q][half] =
            dot2(sums[q][half], v[half], splat_pair(pairs[q * (CK_SPAN_TOKENS / 2)]));
  }
}
#endif

INLINE void score_groups(
    const ck_attention *a, const attention_tile *t, attention_weights *w, const int queries,
    const int groups, const int is_bf16, const uint32_t *const *keys, int group) {
  v16f sums[CK_QUERIES][SPAN_GROUPS];
#pragma clang loop unroll(full)
  for (int q = 0; q < queries; q++)
#pragma clang loop unroll(full)
    for (int g = 0; g < groups; g++) sums[q][g] = splat(0);
  const int64_t words = ck_cache_words(&a->cache, a->cache.key_width);
  const float *query = t->queries;
#if CK_BF16_PAIRS
  if (is_bf16) score_pairs((const uint32_t *)query, queries, groups, keys + group, words, sums);
#endif
  for (int64_t word = CK_BF16_PAIRS && is_bf16 ? words : 0; word < words; word++) {
    v16f k[2][SPAN_GROUPS];
#pragma clang loop unroll(full)
    for (int g = 0; g < groups; g++)
      load_elements(is_bf16, keys[group + g] + word * CK_GROUP_TOKENS, &k[0][g], &k[1][g]);
#pragma clang loop unroll(full)
    for (int half = 0; half < 1 + is_bf16; half++, query += queries)
#pragma clang loop unroll(full)
      for (int q = 0; q < queries; q++) {
        const v16f x = splat(query[q]);
#pragma clang loop unroll(full)
        for (int g = 0; g < groups; g++) sums[q][g] = fma16(x, k[half][g], sums[q][g]);
      }
  }
#pragma clang loop unroll(full)
  for (int q = 0; q < queries; q++)
#pragma clang loop unroll(full)
    for (int g = 0; g < groups; g++)
      store(w->weights[q] + (group + g) * CK_GROUP_TOKENS, sums[q][g] * splat(a->scale));
}

/// Scores of keys that a query does not see become those of nothing.
static void hide_keys(
    const attention_tile *t, const attention_span *s, attention_weights *w, int q) {
  for (int g = 0; g < w->groups; g++) {
    const int64_t left = t->limits[q] - s->positions[g];
    for (int64_t j = left < s->tokens[g] ? (left > 0 ? left : 0) : s->tokens[g];
         j < CK_GROUP_TOKENS; j++)
      w->weights[q][g * CK_GROUP_TOKENS + j] = -INFINITY;
  }
}

/// Turns scores into weights.
INLINE void weigh(
    attention_tile *t, const attention_span *s, attention_weights *w, const int queries) {
  float changes[16] = {0};
  for (int q = 0; q < queries; q++) {
    hide_keys(t, s, w, q);
    v16f scores = load(w->weights[q]);
    for (int g = 1; g < w->groups; g++)
      scores = __builtin_elementwise_max(scores, load(w->weights[q] + g * CK_GROUP_TOKENS));
    const float highest = largest16(scores), before = t->largest[q];
    if (!(highest <= before)) t->largest[q] = highest;
    // Nothing seen yet: no number to take off.
    const float largest = t->largest[q] == -INFINITY ? 0 : t->largest[q];
    changes[q] = t->largest[q] == before ? 0 : before - largest;
    v16f sum = splat(0);
    for (int g = 0; g < w->groups; g++) {
      float *weights = w->weights[q] + g * CK_GROUP_TOKENS;
      const v16f weight = exp16(load(weights) - splat(largest));
      sum += weight;
      store(weights, weight);
    }
    w->factors[q] = sum16(sum);
  }
  const v16f factors = exp16(load(changes));
  for (int q = 0; q < queries; q++)
    t->denominators[q] = t->denominators[q] * factors[q] + w->factors[q];
  store(w->factors, factors);
}

/// Adds the weighted values of a span to the sums of some queries.
INLINE void add_values(
    const attention_tile *t, const attention_span *s, const attention_weights *w,
    const int first, const int queries, const int is_bf16) {
  const int64_t step = is_bf16 ? 16 : 32;
  for (int64_t d = 0; d < t->sum_stride / 32; d++) {
    v16f sums[CK_VALUE_QUERIES][2];
#pragma clang loop unroll(full)
    for (int q = 0; q < queries; q++)
#pragma clang loop unroll(full)
      for (int half = 0; half < 2; half++)
        sums[q][half] = load(t->sums + (first + q) * t->sum_stride + d * 32 + half * 16)
                      * splat(w->factors[first + q]);
    for (int g = 0; g < w->groups; g++) {
      const uint32_t *value = s->values[g] + d * step;
#if CK_BF16_PAIRS
      if (is_bf16) {
        add_pairs(
            value, s->value_stride, w->pairs[first] + g * (CK_GROUP_TOKENS / 2), w->visible[g],
            queries, sums);
        continue;
      }
#endif
      const float *weight = w->weights[first] + g * CK_GROUP_TOKENS;
      for (int64_t j = 0; j < w->visible[g]; j++, value += s->value_stride, weight++) {
        v16f v[2];
        load_pair(is_bf16, value, &v[0], &v[1]);
#pragma clang loop unroll(full)
        for (int q = 0; q < queries; q++)
#pragma clang loop unroll(full)
          for (int half = 0; half < 2; half++)
            sums[q][half] = fma16(splat(weight[q * CK_SPAN_TOKENS]), v[half], sums[q][half]);
      }
    }
#pragma clang loop unroll(full)
    for (int q = 0; q < queries; q++)
#pragma clang loop unroll(full)
      for (int half = 0; half < 2; half++)
        store(t->sums + (first + q) * t->sum_stride + d * 32 + half * 16, sums[q][half]);
  }
}

/// A tile over the keys of a span.
INLINE void attend(
    const ck_attention *a, attention_tile *t, const attention_span *s, const int queries,
    const int is_bf16) {
  attention_weights w;
  const int64_t limit = t->limits[queries - 1];
  for (w.groups = 0; w.groups < s->groups && s->positions[w.groups] < limit; w.groups++) {
    const int64_t left = limit - s->positions[w.groups], tokens = s->tokens[w.groups];
    w.visible[w.groups] = left < tokens ? left : tokens;
  }
  const int wide = CK_SCORE_GROUPS(queries);
  int group = 0;
  for (; group + wide <= w.groups; group += wide)
    score_groups(a, t, &w, queries, wide, is_bf16, s->keys, group);
  for (; group < w.groups; group++) score_groups(a, t, &w, queries, 1, is_bf16, s->keys, group);
  weigh(t, s, &w, queries);
#if CK_BF16_PAIRS
  if (is_bf16)
    for (int q = 0; q < queries; q++)
      round_pairs(w.weights[q], (uint16_t *)w.pairs[q], w.groups * CK_GROUP_TOKENS);
#endif
  int q = 0;
#pragma clang loop unroll(full)
  for (; q + CK_VALUE_QUERIES <= queries; q += CK_VALUE_QUERIES)
    add_values(t, s, &w, q, CK_VALUE_QUERIES, is_bf16);
  if (q < queries) add_values(t, s, &w, q, queries % CK_VALUE_QUERIES, is_bf16);
}

typedef void (*attend_tile)(const ck_attention *, attention_tile *, const attention_span *);

/// Kept apart from each other, as products of rows are.
#define DEFINE_ATTEND(queries, type, is_bf16)                                            \
  static __attribute__((noinline)) void attend_##queries##_##type(                       \
      const ck_attention *a, attention_tile *t, const attention_span *s) {               \
    attend(a, t, s, queries, is_bf16);                                                   \
  }
#define DEFINE_ATTENDS(queries) DEFINE_ATTEND(queries, f32, 0) DEFINE_ATTEND(queries, bf16, 1)

DEFINE_ATTENDS(1)
DEFINE_ATTENDS(2)
#if CK_QUERIES >= 4
DEFINE_ATTENDS(3)
DEFINE_ATTENDS(4)
#endif
#if CK_QUERIES >= 12
DEFINE_ATTENDS(5)
DEFINE_ATTENDS(6)
DEFINE_ATTENDS(7)
DEFINE_ATTENDS(8)
DEFINE_ATTENDS(9)
DEFINE_ATTENDS(10)
DEFINE_ATTENDS(11)
DEFINE_ATTENDS(12)
#endif

#if CK_QUERIES >= 12
#define ATTENDS(type)                                                                    \
  {attend_1_##type, attend_2_##type, attend_3_##type, attend_4_##type, attend_5_##type,  \
   attend_6_##type, attend_7_##type, attend_8_##type, attend_9_##type, attend_10_##type, \
   attend_11_##type, attend_12_##type}
#elif CK_QUERIES >= 4
#define ATTENDS(type) {attend_1_##type, attend_2_##type, attend_3_##type, attend_4_##type}
#else
#define ATTENDS(type) {attend_1_##type, attend_2_##type}
#endif
static const attend_tile attends[2][CK_QUERIES] = {ATTENDS(f32), ATTENDS(bf16)};
