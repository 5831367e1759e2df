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

#if CK_BF16_PAIRS
/// The queries from `first` on, rounded, word by word. A query's own words lie behind all of them
/// meanwhile: words take half of the room.
static void gather_pairs(
    const ck_attention *a, const attention_unit *u, const attention_tile *t, int64_t first) {
  const int64_t words = ck_cache_words(&a->cache, a->cache.key_width);
  uint32_t *out = (uint32_t *)t->queries, *row = out + t->count * words;
  for (int q = 0; q < t->count; q++) {
    uint16_t *halves = (uint16_t *)row;
    halves[2 * words - 1] = 0;
    for (int part = 0; part < 2; part++) {
      const ck_columns *c = &a->parts[part];
      round_each(
          c->data + row_of(a, u, first + q) * c->stride + head_of(a, u, first + q) * c->group,
          halves, c->width);
      halves += c->width;
    }
    for (int64_t word = 0; word < words; word++) out[word * t->count + q] = row[word];
  }
}
#endif

/// The queries from `first` on, element by element.
static void gather_queries(
    const ck_attention *a, const attention_unit *u, const attention_tile *t, int64_t first) {
#if CK_BF16_PAIRS
  if (a->cache.type == CK_BF16) {
    gather_pairs(a, u, t, first);
    return;
  }
#endif
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
    const ck_attention *a, const attention_result *result, int64_t row, int64_t head) {
  float *out = a->output + (row * a->heads + head) * a->value_width;
  const float denominator =
      result->denominator > 0 || isnan(result->denominator) ? result->denominator : 1;
  for (int64_t d = 0; d < a->value_width; d += 32) {
    const float *sums = result->sums + d;
    v16f low, high;
    order_pair(a->cache.type == CK_BF16, load(sums), load(sums + 16), &low, &high);
    store_some(out + d, low / splat(denominator), a->value_width - d);
    store_some(out + d + 16, high / splat(denominator), a->value_width - d - 16);
  }
  if (a->log_sum_exp == NULL) return;
  const int saw_none = result->largest == -INFINITY;
  a->log_sum_exp[row * a->heads + head] =
      saw_none ? -INFINITY : result->largest + logf(result->denominator);
}

/// Where a device is among the groups that it has of a sequence.
typedef struct {
  int64_t block, offset;
} group_cursor;

/// The first of them that begins at a position or behind it.
static group_cursor cursor_at(const ck_step *step, int64_t position) {
  const int64_t size = step->block_tokens, count = step->slice_count;
  const int64_t block = position / size;
  const int64_t own = block + (step->slice_index - block % count + count) % count;
  if (own != block) return (group_cursor){own, 0};
  const int64_t offset = ck_padded(position - block * size, CK_GROUP_TOKENS);
  return offset < size ? (group_cursor){block, offset} : (group_cursor){block + count, 0};
}

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
    gather_queries(a, u, t, query);
    for (int q = 0; q < t->count; q++, query++)
      t->limits[q] = u->sequence->position + row_of(a, u, query) - u->sequence->first_row + 1;
  }
  return count;
}

INLINE int64_t limit_of(const attention_tile *t) { return t->limits[t->count - 1]; }

/// Tiles over one part of the context. `values` has room for those of a span.
static void attend_part(
    const ck_attention *a, const ck_step *step, const attention_unit *u, attention_tile *tiles,
    int count, int64_t part, float *values) {
  for (int i = 0; i < count; i++) {
    attention_tile *t = &tiles[i];
    memset(t->sums, 0, (size_t)(t->count * t->sum_stride) * sizeof(float));
    for (int q = 0; q < t->count; q++) t->largest[q] = -INFINITY, t->denominators[q] = 0;
  }
  const int64_t end = (part + 1) * CK_PART_TOKENS, last = limit_of(&tiles[count - 1]);
  group_cursor cursor = cursor_at(step, part * CK_PART_TOKENS);
  for (;;) {
    attention_span span =
        next_span(a, step, u->sequence, u->key_head, last < end ? last : end, &cursor);
    if (span.groups == 0) break;
    if (a->cache.value_width == 0) take_values(a, &span, (uint32_t *)values);
    for (int i = 0; i < count; i++)
      if (span.positions[0] < limit_of(&tiles[i]))
        attends[a->cache.type == CK_BF16][tiles[i].count - 1](a, &tiles[i], &span);
  }
}

INLINE attention_result result_of(const attention_tile *t, int q) {
  return (attention_result){t->sums + q * t->sum_stride, t->largest[q], t->denominators[q]};
}

/// Parts of the context that the last query of a unit sees.
INLINE int64_t part_count(const ck_attention *a, const attention_unit *u) {
  const int64_t last = row_of(a, u, u->first + u->count - 1) - u->sequence->first_row;
  return (u->sequence->position + last + CK_PART_TOKENS) / CK_PART_TOKENS;
}

/// A unit over all of the context.
static void attend_unit(
    const ck_attention *a, const ck_step *step, const attention_unit *u, float *scratch) {
  attention_tile tiles[(CK_UNIT_QUERIES + CK_QUERIES - 1) / CK_QUERIES];
  const int count = make_tiles(a, u, tiles, scratch);
  const int64_t width = tiles[0].sum_stride, parts = part_count(a, u);
  float *sums = scratch + u->count * (ck_padded(a->cache.key_width, 2) + width);
  float *values = sums + u->count * width;
  attention_result results[CK_UNIT_QUERIES];
  for (int64_t query = 0; query < u->count; query++)
    results[query] = (attention_result){sums + query * width, -INFINITY, 0};
  for (int64_t part = 0; part < parts; part++) {
    attend_part(a, step, u, tiles, count, part, values);
    attention_result *all = results;
    for (int i = 0; i < count; i++)
      for (int q = 0; q < tiles[i].count; q++, all++) {
        const attention_result own = result_of(&tiles[i], q);
        // A single part stays where it is.
        if (parts == 1)
          *all = own;
        else
          add_part(all, &own, width);
      }
  }
  for (int64_t query = 0; query < u->count; query++)
    finish_query(
        a, &results[query], row_of(a, u, u->first + query), head_of(a, u, u->first + query));
}

/// About as many in each part as in the others, none of more than `most`.
INLINE int64_t even_part(int64_t count, int64_t most) {
  const int64_t parts = (count + most - 1) / most;
  return (count + parts - 1) / parts;
}

/// How a step's attention is shared by workers: units of so many queries at most, each over all of
/// the context or over a part of it.
typedef struct {
  int64_t most;
  int in_parts;
} attention_cut;

INLINE attention_cut cut_attention(const ck_attention *a, const ck_step *step, int64_t threads) {
  const int64_t group = a->heads / a->cache.heads;
  // Few queries are shared by all workers; of many, units are large enough to read keys rarely.
  const int64_t share = (step->rows * a->heads + threads - 1) / threads;
  const attention_cut by_query = {even_part(share, CK_UNIT_QUERIES), 0};
  // Where whole units would leave workers idle, their contexts are shared.
  int64_t units = 0, partials = 0, most_parts = 0;
  for (int64_t i = 0; i < step->sequence_count; i++) {
    const ck_sequence *s = &step->sequences[i];
    const int64_t queries = s->rows * group;
    const int64_t parts = (s->position + s->rows - 1 + CK_PART_TOKENS) / CK_PART_TOKENS;
    units += a->cache.heads * ((queries + CK_UNIT_QUERIES - 1) / CK_UNIT_QUERIES);
    partials += a->cache.heads * queries * parts;
    if (parts > most_parts) most_parts = parts;
    if (units >= 4 * threads || units > a->partials->unit_count) return by_query;
  }
  const int64_t width = ck_padded(a->value_width, 32) + 2;
  if (units % threads == 0 || most_parts == 1 || partials * width > a->partials->count)
    return by_query;
  return (attention_cut){CK_UNIT_QUERIES, 1};
}

/// One part of a unit's context, left at `floats`: of each query the sums, the largest score and
/// the denominator.
static void attend_alone(
    const ck_attention *a, const ck_step *step, const attention_unit *u, int64_t part,
    float *scratch, float *floats) {
  attention_tile tiles[(CK_UNIT_QUERIES + CK_QUERIES - 1) / CK_QUERIES];
  const int count = make_tiles(a, u, tiles, scratch);
  const int64_t width = tiles[0].sum_stride;
  float *values = scratch + u->count * (ck_padded(a->cache.key_width, 2) + width);
  attend_part(a, step, u, tiles, count, part, values);
  for (int i = 0; i < count; i++)
    for (int q = 0; q < tiles[i].count; q++, floats += width + 2) {
      memcpy(floats, result_of(&tiles[i], q).sums, (size_t)width * sizeof(float));
      floats[width] = tiles[i].largest[q];
      floats[width + 1] = tiles[i].denominators[q];
    }
}

/// Puts together what all parts of a unit have left, in order.
static void join_parts(
    const ck_attention *a, const attention_unit *u, int64_t parts, float *floats) {
  const int64_t width = ck_padded(a->value_width, 32), stride = width + 2;
  for (int64_t query = 0; query < u->count; query++) {
    float *first = floats + query * stride;
    attention_result all = {first, first[width], first[width + 1]};
    for (int64_t part = 1; part < parts; part++) {
      float *next = first + part * u->count * stride;
      const attention_result result = {next, next[width], next[width + 1]};
      add_part(&all, &result, width);
    }
    finish_query(a, &all, row_of(a, u, u->first + query), head_of(a, u, u->first + query));
  }
}

/// Units of a part of the context each. Who finishes the last part of some queries joins them.
static void run_in_parts(
    const ck_attention *a, const ck_step *step, ck_worker *worker, int64_t most) {
  const int64_t group = a->heads / a->cache.heads;
  const int64_t stride = ck_padded(a->value_width, 32) + 2;
  float *floats = a->partials->floats;
  int64_t *arrived = a->partials->arrived;
  int64_t claim = ck_claim(worker), begin = 0;
  for (int64_t i = 0; i < step->sequence_count; i++) {
    attention_unit u = {.sequence = &step->sequences[i]};
    const int64_t queries = u.sequence->rows * group, size = even_part(queries, most);
    for (u.key_head = 0; u.key_head < a->cache.heads; u.key_head++)
      for (u.first = 0; u.first < queries; u.first += size, arrived++) {
        u.count = queries - u.first < size ? queries - u.first : size;
        const int64_t parts = part_count(a, &u);
        for (; claim < begin + parts; claim = ck_claim(worker)) {
          float *own = floats + (claim - begin) * u.count * stride;
          attend_alone(a, step, &u, claim - begin, worker->scratch, own);
          if (__atomic_add_fetch(arrived, 1, __ATOMIC_ACQ_REL) < parts) continue;
          *arrived = 0;
          join_parts(a, &u, parts, floats);
        }
        begin += parts;
        floats += parts * u.count * stride;
      }
  }
}

static void run_attention(const void *arguments, const ck_step *step, ck_worker *worker) {
  const ck_attention *a = arguments;
  const int64_t group = a->heads / a->cache.heads;
  const attention_cut cut = cut_attention(a, step, ck_pool_threads(worker->pool));
  if (cut.in_parts) {
    run_in_parts(a, step, worker, cut.most);
    return;
  }
  int64_t unit = ck_claim(worker), begin = 0;
  for (int64_t i = 0; i < step->sequence_count; i++) {
    const int64_t queries = step->sequences[i].rows * group, size = even_part(queries, cut.most);
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
