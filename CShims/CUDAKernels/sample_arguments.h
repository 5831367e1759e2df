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
  /// Of the largest scores of a row that are reported, at most.
  cu_top_max = 20,
  /// In place of a column (`DrawnToken`): an element is no finite number, or none may be drawn.
  cu_not_finite = -1,
  cu_all_masked = -2,
};

/// What is told of a row's scores before adjustments (`LogitReport`).
typedef struct cu_report {
  /// The key of the largest, as of `cu_largest`.
  uint64_t largest;
  /// The sum of `exp(score - largest)`, each a whole number of 2^-40.
  uint64_t total;
  /// The largest keys, in falling order; 0 behind the last.
  uint64_t top[cu_top_max];
  /// The scores of the column drawn, and of the alternative.
  float chosen, alternative;
} cu_report;

/// What the host is told at the end of a draw, by memory of its own that is mapped.
typedef struct cu_drawn {
  /// Of all rows, as `cu_largest` has them.
  const uint64_t *keys;
  /// `[rows]`; null: what was drawn is known at the end of another launch only.
  int32_t *columns;
  /// Of all rows, and where they go; null: there are none.
  const cu_report *reports;
  cu_report *host_reports;
  /// Becomes `number` when all that is there.
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
  /// The row's adjustments, each of another column, and its penalties.
  int32_t first_adjustment, adjustment_count;
  float repetition, frequency, presence;
  /// How many of the largest scores are reported; -1: nothing is.
  int32_t top_count;
  /// A column whose score is reported beside the one drawn; -1: none.
  int32_t alternative, unused;
} cu_draw;

/// Where draws come from and where they go, and what is zero before a draw.
typedef struct cu_fetch_draws {
  /// Of the host, mapped.
  const void *slot;
  cu_draw *draws;
  uint64_t *keys;
  uint32_t *arrivals;
  int32_t rows;
  /// Of 16 bytes; 0: all rows take the largest, and there is nothing else to do.
  int32_t draw_words;
} cu_fetch_draws;

/// What is done to one score of a row (`TokenAdjustment`).
typedef struct cu_adjustment {
  int32_t column;
  /// What is added first; then the score as it was before.
  float bias;
  /// -1: no penalties.
  int32_t count;
} cu_adjustment;

/// What some columns of a row weigh together.
typedef struct cu_bucket {
  uint64_t weight;
  uint32_t count, unused;
} cu_bucket;

/// Columns of rows drawn at random, and what goes with that. All is of the rows of this launch.
typedef struct cu_sample {
  float *scores;
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
  /// Of all rows of the step.
  cu_adjustment *adjustments;
  /// Zero before.
  cu_report *reports;
  /// `[rows, parts, cu_top_max]`: the largest keys of `cu_sample_columns` columns.
  uint64_t *tops;
  int32_t width, parts;
  /// For the last kernel of a draw, if it is `sample_pick`.
  cu_drawn drawn;
} cu_sample;
