// SPDX-License-Identifier: Apache-2.0
// output = input / sqrt(mean(input²) + epsilon) · weight, over some columns of a row. A block takes
// a row (`norm.h`).
//
// Bound by latency at few rows: a thread reads its first 32 columns and their weights at once, the
// weights before the kernels in front are done, and keeps them. Ladder: a column after the other,
// twice, 6 us for 3,584 columns (H100); now in fours. Where products read the output as codes,
// these are made in passing: a warp has whole spans of 128 columns. Where one product of few rows
// is all that reads the output, its blocks norm the rows themselves (`few_norm.h`).
#include "norm.h"

namespace {

constexpr int kept = 8;

DEVICE void write_four(const cu_norm &op, int row, int column, const Float4 &x,
                       const Float4 &weight, float factor) {
  const Float4 y = normed(x, weight, factor);
  // Rows of outputs have room for whole fours.
  if (column < op.input.width) put(op.output, row, column, y);
  const int span = column / cu_span, spans = (op.input.width + cu_span - 1) / cu_span;
  if (!op.codes.rows || span >= spans) return;
  put_codes(op.codes, row, spans, span, {{y}});
}

}  // namespace

// Grid: rows.
EARLY_KERNEL(rms_norm, cu_norm, cu_threads) {
  SHARED float scratch[cu_threads / 32];
  const int row = block_x(), width = op.input.width, first = 4 * thread_index();
  Float4 x[kept], weights[kept];
  load_norm_weights(op, first, weights);
  wait_for_previous();
  if (row >= op.step->counts[op.space]) return;
  const NormRow input(op, row);
  const float factor = norm_factor(op, sum_of_block(input.sum(x), scratch));
  UNROLL for (int i = 0; i < kept; i++) {
    write_four(op, row, first + i * norm_pass, x[i], weights[i], factor);
  }
  // A warp stays together.
  for (int column = first + kept * norm_pass; column / cu_span * cu_span < width;
       column += norm_pass) {
    Float4 more[1], weight[1];
    input.load(column, more);
    load_norm_weights(op, column, weight);
    write_four(op, row, column, more[0], weight[0], factor);
  }
}
