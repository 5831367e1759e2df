// SPDX-License-Identifier: Apache-2.0
// output = input / sqrt(mean(input²) + epsilon) · weight, over some columns of a row. A block takes
// a row: each thread sums the squares of every 256th four neighbours, then the threads' sums are
// added in a fixed order.
//
// Bound by latency at few rows: a thread reads its first 32 columns and their weights at once, the
// weights before the kernels in front are done, and keeps them. Ladder: a column after the other,
// twice, 6 us for 3,584 columns (H100); now in fours. Where products read the output as codes,
// these are made in passing: a warp has whole spans of 128 columns.
#include "coded_rows.h"

namespace {

constexpr int kept = 8, of_pass = 4 * cu_threads;

/// Four neighbours of a row that may end, or begin, anywhere; zeros beyond its end.
DEVICE Float4 load_four(const float *row, int column, int width, bool is_aligned) {
  if (is_aligned && column + 4 <= width) return *(const Float4 *)(row + column);
  float x[4];
  UNROLL for (int i = 0; i < 4; i++) x[i] = column + i < width ? row[column + i] : 0.f;
  return {x[0], x[1], x[2], x[3]};
}

DEVICE float squares(const Float4 &x) { return x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w; }

DEVICE void write_four(const cu_norm &op, int row, int column, const Float4 &x,
                       const Float4 &weight, float inverse) {
  const Float4 y = {x.x * inverse * weight.x, x.y * inverse * weight.y, x.z * inverse * weight.z,
                    x.w * inverse * weight.w};
  // Rows of outputs have room for whole fours.
  if (column < op.input.width) put(op.output, row, column, y);
  const int span = column / cu_span, spans = (op.input.width + cu_span - 1) / cu_span;
  if (!op.codes.rows || span >= spans) return;
  put_codes(op.codes, row, spans, span, y);
}

}  // namespace

// Grid: rows.
EARLY_KERNEL(rms_norm, cu_norm, cu_threads) {
  SHARED float scratch[cu_threads / 32];
  const int row = block_x(), width = op.input.width, first = 4 * thread_index();
  Float4 x[kept], weights[kept];
  UNROLL for (int i = 0; i < kept; i++) {
    weights[i] = load_four(op.weight, first + i * of_pass, width, true);
  }
  wait_for_previous();
  if (row >= op.step->counts[op.space]) return;
  const float *input = op.input.data + row * op.input.stride;
  const bool is_aligned = (uintptr_t)op.input.data % 16 == 0 && op.input.stride % 4 == 0;
  float sum = 0;
  UNROLL for (int i = 0; i < kept; i++) {
    x[i] = load_four(input, first + i * of_pass, width, is_aligned);
    sum += squares(x[i]);
  }
  for (int column = first + kept * of_pass; column < width; column += of_pass) {
    sum += squares(load_four(input, column, width, is_aligned));
  }
  const float inverse = 1 / sqrtf(sum_of_block(sum, scratch) / width + op.epsilon);
  UNROLL for (int i = 0; i < kept; i++) {
    write_four(op, row, first + i * of_pass, x[i], weights[i], inverse);
  }
  // A warp stays together.
  for (int column = first + kept * of_pass; column / cu_span * cu_span < width; column += of_pass) {
    write_four(op, row, column, load_four(input, column, width, is_aligned),
               load_four(op.weight, column, width, true), inverse);
  }
}
