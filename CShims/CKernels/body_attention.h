// SPDX-License-Identifier: Apache-2.0
// Softmax attention over a paged cache. A unit of work is some queries of one key head, which go
// through its keys together, span by span (`body_span.h`).
#include "body_span.h"
#include "kernels.h"
#include "vector.h"

/// Where the queries of a unit come from and their results go.
typedef struct {
  const ck_sequence *sequence;
  int64_t key_head;
  /// The first query and how many, numbered by row, then head.
  int64_t first, count;
} attention_unit;

INLINE int64_t row_of(const ck_attention *a, const attention_unit *u, int64_t query) {
  return u->sequence->first_row + query / (a->heads / a->cache.heads);
}

INLINE int64_t head_of(const ck_attention *a, const attention_unit *u, int64_t query) {
  const int64_t group = a->heads / a->cache.heads;
  return u->key_head * group + query % group;
}

/// The queries from `first` on, element by element.
static void gather_queries(
    const ck_attention *a, const attention_unit *u, const attention_tile *t, int64_t first) {
  float *out = t->queries;
  for (int part = 0; part < 2; part++) {
    const ck_columns *c = &a->parts[part];
    const float *queries[CK_QUERIES];
    for (int q = 0; q < t->count; q++)
      queries[q] = c->data + row_of(a, u, first + q) * c->stride
                 + head_of(a, u, first + q) * c->group;
    for (int64_t i = 0; i < c->width; i++, out += t->count)
      for (int q = 0; q < t->count; q++) out[q] = queries[q][i];
  }
  // What the cache has behind a key of an odd width is never written: 0.
  if (a->cache.key_width % 2 != 0) memset(out, 0, (size_t)t->count * sizeof(float));
}

static void finish_query(
    const ck_attention *a, const attention_tile *t, int q, int64_t row, int64_t head) {
  float *out = a->output + (row * a->heads + head) * a->value_width;
  const float *sums = t->sums + q * t->sum_stride;
  const float denominator = t->denominators[q] > 0 || isnan(t->denominators[q])
      ? t->denominators[q] : 1;
  for (int64_t d = 0; d < a->value_width; d += 32) {
    v16f low, high;
    order_pair(a->cache.type == CK_BF16, load(sums + d), load(sums + d + 16), &low, &high);
    store_some(out + d, low / splat(denominator), a->value_width - d);
    store_some(out + d + 16, high / splat(denominator), a->value_width - d - 16);
  }
  if (a->log_sum_exp == NULL) return;
  const int saw_none = t->largest[q] == -INFINITY;
  a->log_sum_exp[row * a->heads + head] =
      saw_none ? -INFINITY : t->largest[q] + logf(t->denominators[q]);
}

/// Where a device is among the groups that it has of a sequence.
typedef struct {
  int64_t block, offset;
} group_cursor;

/// The next groups with keys before `limit`; none if there are no more.
static attention_span next_span(
    const ck_attention *a, const ck_step *step, const ck_sequence *sequence, int64_t head,
    int64_t limit, group_cursor *cursor) {
  const int64_t size = step->block_tokens;
  const int64_t key_words = ck_cache_words(&a->cache, a->cache.key_width);
  attention_span s = {.value_stride = ck_cache_words(&a->cache, a->cache.value_width)};
  while (s.groups < SPAN_GROUPS && cursor->block * size + cursor->offset < limit) {
    const int64_t group = sequence->blocks[cursor->block] * ck_block_groups(size)
                        + cursor->offset / CK_GROUP_TOKENS;
    const int64_t left = size - cursor->offset;
    s.keys[s.groups] =
        a->cache.words + (group * a->cache.heads + head) * ck_group_words(&a->cache);
    s.values[s.groups] = s.keys[s.groups] + key_words * CK_GROUP_TOKENS;
    s.positions[s.groups] = cursor->block * size + cursor->offset;
    s.tokens[s.groups++] = left < CK_GROUP_TOKENS ? left : CK_GROUP_TOKENS;
    cursor->offset += CK_GROUP_TOKENS;
    if (cursor->offset < size) continue;
    cursor->offset = 0;
    cursor->block += step->slice_count;
  }
  return s;
}

/// Values that are the beginnings of keys, one after the other.
static void take_values(const ck_attention *a, attention_span *s, uint32_t *values) {
  const int64_t words = ck_padded(ck_cache_words(&a->cache, a->value_width), 16);
  s->value_stride = words;
  for (int g = 0; g < s->groups; g++, values += words * CK_GROUP_TOKENS) {
    for (int64_t word = 0; word < words; word += 16)
      transpose(s->keys[g] + word * CK_GROUP_TOKENS, values + word, words);
    s->values[g] = values;
  }
}

/// Cuts a unit into tiles of about the same size, each with its part of `scratch`; how many.
static int make_tiles(
    const ck_attention *a, const attention_unit *u, attention_tile *tiles, float *scratch) {
  const int64_t width = ck_padded(a->cache.key_width, 2);
  const int count = (int)((u->count + CK_QUERIES - 1) / CK_QUERIES);
  int64_t query = u->first;
  for (int i = 0; i < count; i++) {
    attention_tile *t = &tiles[i];
    t->count = (int)((u->first + u->count - query + count - i - 1) / (count - i));
    t->sum_stride = ck_padded(a->value_width, 32);
    t->queries = scratch;
    t->sums = scratch + t->count * width;
    scratch = t->sums + t->count * t->sum_stride;
    memset(t->sums, 0, (size_t)(t->count * t->sum_stride) * sizeof(float));
    gather_queries(a, u, t, query);
    for (int q = 0; q < t->count; q++, query++) {
      t->limits[q] = u->sequence->position + row_of(a, u, query) - u->sequence->first_row + 1;
      t->largest[q] = -INFINITY;
      t->denominators[q] = 0;
    }
  }
  return count;
}

static void attend_unit(
    const ck_attention *a, const ck_step *step, const attention_unit *u, float *scratch) {
  attention_tile tiles[(CK_UNIT_QUERIES + CK_QUERIES - 1) / CK_QUERIES];
  const int count = make_tiles(a, u, tiles, scratch);
  float *values = scratch + u->count * (ck_padded(a->cache.key_width, 2) + tiles[0].sum_stride);
  const int64_t limit = tiles[count - 1].limits[tiles[count - 1].count - 1];
  group_cursor cursor = {.block = step->slice_index};
  for (;;) {
    attention_span span = next_span(a, step, u->sequence, u->key_head, limit, &cursor);
    if (span.groups == 0) break;
    if (a->cache.value_width == 0) take_values(a, &span, (uint32_t *)values);
    for (int i = 0; i < count; i++)
      if (span.positions[0] < tiles[i].limits[tiles[i].count - 1])
        attends[a->cache.type == CK_BF16][tiles[i].count - 1](a, &tiles[i], &span);
  }
  int64_t query = u->first;
  for (int i = 0; i < count; i++)
    for (int q = 0; q < tiles[i].count; q++, query++)
      finish_query(a, &tiles[i], q, row_of(a, u, query), head_of(a, u, query));
}

/// About as many in each part as in the others, none of more than `most`.
INLINE int64_t even_part(int64_t count, int64_t most) {
  const int64_t parts = (count + most - 1) / most;
  return (count + parts - 1) / parts;
}

static void run_attention(const void *arguments, const ck_step *step, ck_worker *worker) {
  const ck_attention *a = arguments;
  const int64_t group = a->heads / a->cache.heads;
  const int64_t threads = ck_pool_threads(worker->pool);
  // Few queries are shared by all workers; of many, units are large enough to read keys rarely.
  const int64_t share = (step->rows * a->heads + threads - 1) / threads;
  const int64_t most = even_part(share, CK_UNIT_QUERIES);
  int64_t unit = ck_claim(worker), begin = 0;
  for (int64_t i = 0; i < step->sequence_count; i++) {
    const int64_t queries = step->sequences[i].rows * group, size = even_part(queries, most);
    const int64_t units = (queries + size - 1) / size;
    for (; unit < begin + a->cache.heads * units; unit = ck_claim(worker)) {
      attention_unit u = {.sequence = &step->sequences[i]};
      u.key_head = (unit - begin) / units;
      u.first = (unit - begin) % units * size;
      u.count = queries - u.first < size ? queries - u.first : size;
      attend_unit(a, step, &u, worker->scratch);
    }
    begin += a->cache.heads * units;
  }
}
