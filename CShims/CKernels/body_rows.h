// SPDX-License-Identifier: Apache-2.0
// Kernels whose rows know nothing of each other.
#pragma once
#include <math.h>

#include "body_quantize.h"
#include "kernels.h"
#include "vector.h"

/// Columns of an elementwise unit.
enum { COLUMN_BLOCK = 2048 };

/// The row that is normalised: what is added to it is added first.
INLINE const float *norm_input(const ck_norm *n, int64_t row) {
  const float *x = n->input.data + row * n->input.stride;
  if (n->addend == NULL) return x;
  const int64_t width = n->input.width;
  const float *addend = n->addend + row * width;
  float *sum = n->sum + row * width;
  for (int64_t d = 0; d < width; d++) sum[d] = x[d] + addend[d];
  return sum;
}

static void run_norm(const void *arguments, const ck_step *step, ck_worker *worker) {
  (void)step;
  const ck_norm *n = arguments;
  const int64_t width = n->input.width;
  for (int64_t row; (row = ck_claim(worker)) < *n->rows;) {
    const float *x = norm_input(n, row);
    float *y = n->output + row * width;
    v16f squares = splat(0);
    for (int64_t d = 0; d < width; d += 16) {
      const v16f v = load_some(x + d, width - d);
      squares = fma16(v, v, squares);
    }
    const float inverse = 1 / sqrtf(sum16(squares) / (float)width + n->epsilon);
    for (int64_t d = 0; d < width; d++) y[d] = x[d] * inverse * n->weight[d];
    if (n->codes.codes != NULL) quantize_row(&n->codes, row, y, width, 0, n->codes.group_count);
  }
}

INLINE v16f silu(v16f x) { return x / (splat(1) + exp16(-x)); }

static void run_swiglu(const void *arguments, const ck_step *step, ck_worker *worker) {
  (void)step;
  const ck_binary *b = arguments;
  const int64_t blocks = (b->width + COLUMN_BLOCK - 1) / COLUMN_BLOCK;
  const int64_t units = *b->rows * b->repeat * blocks;
  for (int64_t unit; (unit = ck_claim(worker)) < units;) {
    const int64_t row = unit / blocks, from = unit % blocks * COLUMN_BLOCK;
    const int64_t to = from + COLUMN_BLOCK < b->width ? from + COLUMN_BLOCK : b->width;
    const float *gate = b->left + row * b->width, *up = b->right + row * b->width;
    float *out = b->output + row * b->width;
    for (int64_t d = from; d < to; d += 16)
      store_some(out + d, silu(load_some(gate + d, to - d)) * load_some(up + d, to - d), to - d);
  }
}

static void run_add(const void *arguments, const ck_step *step, ck_worker *worker) {
  (void)step;
  const ck_binary *b = arguments;
  const int64_t count = *b->rows * b->repeat * b->width;
  for (int64_t unit; (unit = ck_claim(worker)) * COLUMN_BLOCK < count;) {
    const int64_t from = unit * COLUMN_BLOCK;
    const int64_t to = from + COLUMN_BLOCK < count ? from + COLUMN_BLOCK : count;
    for (int64_t i = from; i < to; i++) b->output[i] = b->left[i] + b->right[i];
  }
}

static void run_rope(const void *arguments, const ck_step *step, ck_worker *worker) {
  const ck_rope *r = arguments;
  const ck_columns *c = &r->columns;
  const int64_t pairs = r->angles->pairs;
  // Pair i is columns 2i and 2i + 1, or i and i + pairs.
  const int64_t next = r->interleaved ? 2 : 1, distance = r->interleaved ? 1 : pairs;
  for (int64_t row; (row = ck_claim(worker)) < step->rows;) {
    const float *cosines = r->angles->cosines + row * pairs;
    const float *sines = r->angles->sines + row * pairs;
    for (int64_t group = 0; group < c->count; group++) {
      float *x = c->data + row * c->stride + group * c->group;
      for (int64_t i = 0; i < pairs; i++) {
        const float a = x[i * next], b = x[i * next + distance];
        x[i * next] = a * cosines[i] - b * sines[i];
        x[i * next + distance] = b * cosines[i] + a * sines[i];
      }
    }
  }
}

static void run_combine(const void *arguments, const ck_step *step, ck_worker *worker) {
  (void)step;
  const ck_combine *c = arguments;
  const int64_t blocks = (c->width + COLUMN_BLOCK - 1) / COLUMN_BLOCK;
  for (int64_t unit; (unit = ck_claim(worker)) < *c->rows * blocks;) {
    const int64_t row = unit / blocks, from = unit % blocks * COLUMN_BLOCK;
    const int64_t to = from + COLUMN_BLOCK < c->width ? from + COLUMN_BLOCK : c->width;
    for (int64_t d = from; d < to; d += 16) {
      v16f sum = splat(0);
      for (int64_t k = row * c->top_k; k < (row + 1) * c->top_k; k++)
        sum = fma16(splat(c->choices[k].weight), load_some(c->parts + k * c->width + d, to - d),
                    sum);
      store_some(c->output + row * c->width + d, sum, to - d);
    }
  }
}

/// One pass: each lane keeps its largest element and where it found it first.
INLINE int32_t largest_column(const float *x, int64_t width) {
  v16f peaks = splat(-INFINITY), zeros = splat(0);
  v16i places = (v16i)0, place = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  int64_t d = 0;
  for (; d + 16 <= width; d += 16, place += 16) {
    const v16f v = load(x + d);
    const v16i is_larger = v > peaks;
    peaks = choose(is_larger, v, peaks);
    places = (is_larger & place) | (~is_larger & places);
    zeros += v * 0;  // stays 0 unless one is infinite or no number
  }
  float peak = -INFINITY, zero = sum16(zeros);
  int32_t column = 0;
  for (int lane = 0; lane < 16; lane++)
    if (peaks[lane] > peak || (peaks[lane] == peak && places[lane] < column))
      peak = peaks[lane], column = places[lane];
  for (; d < width; d++) {
    zero += x[d] * 0;
    if (x[d] > peak) peak = x[d], column = (int32_t)d;
  }
  return zero == 0 ? column : -1;
}

static void run_largest(const void *arguments, const ck_step *step, ck_worker *worker) {
  (void)step;
  const ck_largest *l = arguments;
  for (int64_t row; (row = ck_claim(worker)) < l->rows;)
    l->columns[row] = largest_column(l->input + row * l->width, l->width);
}

/// Bytes of a unit of reading.
enum { READ_BLOCK = 1 << 20 };

static void run_read(const void *arguments, const ck_step *step, ck_worker *worker) {
  (void)step;
  const ck_read *r = arguments;
  const int64_t blocks = r->bytes / READ_BLOCK;
  v16f sums[4] = {splat(0), splat(0), splat(0), splat(0)};
  for (int64_t unit; (unit = ck_claim(worker)) < blocks * r->passes;) {
    const float *p = (const float *)((const char *)r->memory + unit % blocks * READ_BLOCK);
    for (int64_t i = 0; i < READ_BLOCK / 4; i += 64)
#pragma clang loop unroll(full)
      for (int j = 0; j < 4; j++) sums[j] += load(p + i + 16 * j);
  }
  // Keeps the reads: the compiler must assume that somebody looks at the sum.
  volatile float sink = sum16(sums[0] + sums[1] + (sums[2] + sums[3]));
  (void)sink;
}
