// SPDX-License-Identifier: Apache-2.0
// What kernels that choose a column of each row are launched with; the rest of `arguments.h`.
#pragma once
#include "arguments.h"

enum {
  /// Columns of a block that looks for the largest of a row.
  cu_largest_columns = 16 * cu_threads,
  /// Columns of a block that weighs a row's, columns that have room to be looked at apart from the
  /// row, and how columns are told apart by their distance from the largest (`sample.cu`).
  cu_sample_columns = 8 * cu_threads,
  cu_candidates_max = 8192,
  cu_buckets = 1024,
  cu_buckets_per_nat = 32,
};

/// What the host is told at the end of a draw, by memory of its own that is mapped.
typedef struct cu_drawn {
  /// Of all rows, as `cu_largest` has them.
  const uint64_t *keys;
  /// `[rows]`; null: what was drawn is known at the end of another launch only.
  int32_t *columns;
  /// Becomes `number` when the columns are there.
  uint64_t *word;
  uint64_t number;
  /// Blocks that have ended, 0 at first, and how many will.
  uint32_t *arrivals;
  uint32_t blocks;
  int32_t rows;
} cu_drawn;

/// The largest of each row, as numbers that are ordered as the floats are: the float's bits in the
/// upper half, lower columns larger in the lower; all ones where one is no finite number.
typedef struct cu_largest {
  const float *rows;
  int64_t stride;
  uint64_t *keys;
  int32_t width, unused;
  cu_drawn drawn;
} cu_largest;

/// How one row's column is drawn (`TokenDraw`).
typedef struct cu_draw {
  /// Parts of sums, in 2^-64; all ones of `top_p`: all of it.
  uint64_t top_p, random;
  float scale, min_p;
  /// 0: all.
  int32_t top_k;
  /// Whether it is drawn at all: else the largest is enough.
  int32_t is_random;
} cu_draw;

/// Where draws come from and where they go, and what is zero before a draw.
typedef struct cu_fetch_draws {
  /// Of the host, mapped.
  const void *slot;
  cu_draw *draws;
  uint64_t *keys;
  uint32_t *arrivals;
  int32_t rows;
  /// Of 16 bytes; 0: all rows take the largest.
  int32_t draw_words;
} cu_fetch_draws;

/// What some columns of a row weigh together.
typedef struct cu_bucket {
  uint64_t weight;
  uint32_t count, unused;
} cu_bucket;

/// Columns of rows drawn at random. All but `scores` is of the rows of this launch.
typedef struct cu_sample {
  const float *scores;
  int64_t stride;
  const cu_draw *draws;
  /// From `largest_of_rows`; in their lower half the column that is drawn in place of the largest.
  uint64_t *keys;
  /// `[rows]`, `[rows, cu_buckets]`: zero before.
  uint32_t *candidate_counts;
  cu_bucket *buckets;
  /// `[rows, cu_candidates_max]`: sort keys of columns near the cut, in no order.
  uint64_t *candidates;
  /// The last sort key that is kept.
  uint64_t *cuts;
  /// `[rows, parts]`: what is kept of `cu_sample_columns` columns weighs together.
  uint64_t *part_sums;
  int32_t width, parts;
  /// For the last kernel of it.
  cu_drawn drawn;
} cu_sample;
