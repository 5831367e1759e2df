// SPDX-License-Identifier: Apache-2.0
// Kernels that move rows, or that need no vectors: the same on every level.
#define _GNU_SOURCE
#include "kernels.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// Of Linux; C libraries before 2.35 do not name it.
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

#include "bits.h"

void ck_run_embed(const void *arguments, const ck_step *step, ck_worker *worker) {
  const ck_embed *e = arguments;
  for (int64_t row; (row = ck_claim(worker)) < step->rows;)
    ck_convert(&e->table, step->tokens[row], 0, e->width, e->output + row * e->width);
}

void ck_run_angles(const void *arguments, const ck_step *step, ck_worker *worker) {
  const ck_angles *a = arguments;
  for (int64_t row; (row = ck_claim(worker)) < step->rows;)
    for (int64_t i = 0; i < a->pairs; i++) {
      const float angle = (float)step->positions[row] * a->inverse_frequencies[i];
      a->cosines[row * a->pairs + i] = cosf(angle) * a->magnitude;
      a->sines[row * a->pairs + i] = sinf(angle) * a->magnitude;
    }
}

/// Writes one element of every `stride` words.
static void store_elements(
    const ck_cache *cache, const float *from, int64_t count, int64_t first, int64_t stride,
    uint32_t *to) {
  if (cache->type == CK_F32) {
    for (int64_t i = 0; i < count; i++) memcpy(to + (first + i) * stride, from + i, sizeof *to);
    return;
  }
  for (int64_t i = first; i < first + count; i++)
    ((uint16_t *)to)[i / 2 * stride * 2 + i % 2] = to_bf16(from[i - first]);
}

static void store_row(const ck_store *s, const ck_step *step, int64_t row) {
  const int64_t block = step->positions[row] / step->block_tokens;
  if (block % step->slice_count != step->slice_index) return;
  const ck_sequence *sequence = &step->sequences[step->row_sequence[row]];
  const int64_t offset = step->positions[row] % step->block_tokens;
  const int64_t group = sequence->blocks[block] * ck_block_groups(step->block_tokens)
                      + offset / CK_GROUP_TOKENS;
  const int64_t token = offset % CK_GROUP_TOKENS, words = ck_group_words(&s->cache);
  uint32_t *to = s->cache.words + group * s->cache.heads * words;
  const int64_t key_words = ck_cache_words(&s->cache, s->cache.key_width);
  for (int64_t head = 0; head < s->cache.heads; head++, to += words) {
    int64_t first = 0;
    for (int part = 0; part < 2; part++) {
      const ck_columns *c = &s->keys[part];
      store_elements(&s->cache, c->data + row * c->stride + head * c->group, c->width, first,
                     CK_GROUP_TOKENS, to + token);
      first += c->width;
    }
    const ck_columns *c = &s->values;
    store_elements(&s->cache, c->data + row * c->stride + head * c->group, c->width, 0, 1,
                   to + CK_GROUP_TOKENS * key_words
                     + token * ck_cache_words(&s->cache, c->width));
  }
}

/// A unit is as many rows as a group has tokens, because those of a group share cache lines.
void ck_run_store(const void *arguments, const ck_step *step, ck_worker *worker) {
  for (int64_t row; (row = ck_claim(worker) * CK_GROUP_TOKENS) < step->rows;)
    for (int64_t i = row; i < row + CK_GROUP_TOKENS && i < step->rows; i++)
      store_row(arguments, step, i);
}

void ck_run_select(const void *arguments, const ck_step *step, ck_worker *worker) {
  const ck_select *s = arguments;
  for (int64_t i; (i = ck_claim(worker)) < step->outputs;)
    memcpy(s->output + i * s->width, s->input + step->output_rows[i] * s->width,
           (size_t)s->width * sizeof(float));
}

void ck_run_join(const void *arguments, const ck_step *step, ck_worker *worker) {
  (void)step;
  const ck_join *j = arguments;
  for (int64_t row; (row = ck_claim(worker)) < *j->rows;) {
    float *out = j->output + row * (j->left_width + j->right_width);
    memcpy(out, j->left + row * j->left_width, (size_t)j->left_width * sizeof(float));
    memcpy(out + j->left_width, j->right + row * j->right_width,
           (size_t)j->right_width * sizeof(float));
  }
}

void *ck_map(int64_t bytes) {
  void *memory =
      mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return NULL;
  madvise(memory, (size_t)bytes, MADV_HUGEPAGE);
  return memory;
}

void ck_unmap(void *memory, int64_t bytes) { munmap(memory, (size_t)bytes); }

int ck_read_pages(const void *memory, int64_t bytes) {
  const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  const uintptr_t start = (uintptr_t)memory / page * page;
  const uintptr_t end = (uintptr_t)memory + (uintptr_t)bytes;
  return madvise((void *)start, end - start, MADV_POPULATE_READ) == 0 ? 0 : errno;
}
