// SPDX-License-Identifier: Apache-2.0
// What log-probabilities are made of (`LogitReport`), of rows of scores before anything is done to
// them: the bits that the host has, since the sum is of whole numbers.
//   total = Σ exp(score[c] - peak), each a whole number of 2^-40
//   report_parts   the sum, and the largest scores, of each 2,048 columns
//   report_top     the largest of those
//   report_chosen  after the draw: puts back what `adjust_rows` has changed, and tells the scores
//                  of the column drawn and of the alternative
// Blocks of `cu_threads`. The largest are found in as many rounds over a block's keys as there are
// to be (20 at most).
// Ladder: (1) this. Not yet measured on a GPU.
#include "sample.h"

/// Whether a row has a report.
DEVICE bool is_reported(const cu_sample &op, int row) {
  return op.draws[row].top_count >= 0 && ~op.keys[row];
}

/// Where the largest keys of a part of a row are.
DEVICE uint64_t *top_of(const cu_sample &op, int row, int part) {
  return op.tops + ((int64_t)row * op.parts + part) * cu_top_max;
}

/// Writes the `count` largest of a block's keys in falling order, 0 behind the last. All keys are
/// different; `below` gives the largest of this thread's that is less than another. `scratch` is
/// shared.
template <class Below>
DEVICE void list_largest(
  int count, const Below &below, uint64_t *list, uint64_t (&scratch)[cu_threads / 32]) {
  uint64_t last = ~(uint64_t)0;
  for (int place = 0; place < count; place++) {
    last = largest_of_block(below(last), scratch);
    if (thread_index() == 0) list[place] = last;
  }
}

// Grid: parts of a row's columns; rows.
KERNEL(report_parts, cu_sample, cu_threads) {
  SHARED uint64_t scratch[cu_threads / 32];
  const int row = block_y();
  if (!is_reported(op, row)) return;
  const float *scores = op.scores + row * op.stride;
  const float peak = float_of_ordered((uint32_t)(op.keys[row] >> 32));
  constexpr int own = cu_sample_columns / cu_threads;
  uint64_t keys[own], sum = 0, total;
  UNROLL for (int i = 0; i < own; i++) {
    const int column = block_x() * cu_sample_columns + i * cu_threads + thread_index();
    const bool is_one = column < op.width;
    const float score = is_one ? scores[column] : peak;
    keys[i] = is_one ? rank_key(score, column) : 0;
    sum += is_one ? units_of(weight_of(add_apart(score, -peak))) : 0;
  }
  sum_before(sum, scratch, total);
  if (thread_index() == 0) {
    add_together(&op.reports[row].total, total);
    if (block_x() == 0) op.reports[row].largest = op.keys[row];
  }
  const auto below = [&](uint64_t last) {
    uint64_t largest = 0;
    UNROLL for (int i = 0; i < own; i++) {
      if (keys[i] < last && keys[i] > largest) largest = keys[i];
    }
    return largest;
  };
  list_largest(op.draws[row].top_count, below, top_of(op, row, block_x()), scratch);
}

// Grid: rows.
KERNEL(report_top, cu_sample, cu_threads) {
  SHARED uint64_t scratch[cu_threads / 32];
  const int row = block_x(), count = op.draws[row].top_count;
  if (!is_reported(op, row)) return;
  const auto below = [&](uint64_t last) {
    uint64_t largest = 0;
    for (int i = thread_index(); i < op.parts * count; i += cu_threads) {
      const uint64_t key = top_of(op, row, i / count)[i % count];
      if (key < last && key > largest) largest = key;
    }
    return largest;
  };
  list_largest(count, below, op.reports[row].top, scratch);
}

// Grid: rows.
KERNEL(report_chosen, cu_sample, cu_threads) {
  const int row = block_x();
  if (!is_reported(op, row)) return;
  const cu_draw &draw = op.draws[row];
  float *scores = op.scores + row * op.stride;
  const cu_adjustment *all = op.adjustments + draw.first_adjustment;
  for (int i = thread_index(); i < draw.adjustment_count; i += cu_threads) {
    scores[all[i].column] = all[i].bias;
  }
  sync_block();
  if (thread_index() > 0) return;
  op.reports[row].chosen = scores[column_of(op.keys[row])];
  if (draw.alternative >= 0) op.reports[row].alternative = scores[draw.alternative];
}
