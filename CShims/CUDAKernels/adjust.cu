// SPDX-License-Identifier: Apache-2.0
// What is done to scores `[rows, width]` before columns are drawn, operation by operation as the
// host does it (`Sources/Sampling`, `SamplingWorkspace+Adjust.swift`):
//   score += bias                                  minus infinity: the column is not drawn
//   score = score > 0 ? score / repetition : score * repetition
//   score -= count * frequency + presence          of columns drawn before
//   adjust_rows          the columns that are listed, in place; the list keeps what they were
//   largest_of_adjusted  the largest of each row where something was done, as `largest_of_rows`
// Ladder: (1) this. Not yet measured on a GPU.
#include "sample.h"

DEVICE float penalized(float score, int count, const cu_draw &draw) {
  score = score > 0 ? divide(score, draw.repetition) : multiply_apart(score, draw.repetition);
  if (count > 0) {
    const float penalty = add_apart(multiply_apart((float)count, draw.frequency), draw.presence);
    score = add_apart(score, -penalty);
  }
  return fminf(fmaxf(score, -1e30f), 1e30f);
}

// Grid: rows.
KERNEL(adjust_rows, cu_sample, cu_threads) {
  const cu_draw &draw = op.draws[block_x()];
  if (!draw.adjustment_count) return;
  float *scores = op.scores + block_x() * op.stride;
  cu_adjustment *all = op.adjustments + draw.first_adjustment;
  for (int i = thread_index(); i < draw.adjustment_count; i += cu_threads) {
    const cu_adjustment adjustment = all[i];
    const float before = scores[adjustment.column];
    const float score = add_apart(before, adjustment.bias);
    scores[adjustment.column] =
      adjustment.count < 0 ? score : penalized(score, adjustment.count, draw);
    all[i].bias = before;
  }
  // A row with what is no finite number stays one.
  if (thread_index() == 0 && ~op.keys[block_x()]) op.keys[block_x()] = 0;
}

// Grid: parts of a row's columns; rows.
KERNEL(largest_of_adjusted, cu_sample, cu_threads) {
  if (!op.draws[block_y()].adjustment_count) return;
  const float *scores = op.scores + block_y() * op.stride;
  const int begin = block_x() * cu_sample_columns;
  const int end = begin + cu_sample_columns < op.width ? begin + cu_sample_columns : op.width;
  uint64_t key = 0;
  for (int column = begin + thread_index(); column < end; column += cu_threads) {
    const uint64_t own = rank_key(scores[column], column);
    if (own > key) key = own;
  }
  key = largest_of_warp(key);
  if (thread_index() % 32 == 0) raise(op.keys + block_y(), key);
}
