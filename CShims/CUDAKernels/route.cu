// SPDX-License-Identifier: Apache-2.0
// What experts are chosen by (`choose.cu`): scores = input · weightᵀ, in 32-bit floats, since a
// score that is off by little may choose another expert.
//
// Shapes: input [rows, inner], weight [experts, inner], scores [rows, experts].
//
// Order of a sum, of the row alone: columns are cut in 8 parts of whole spans of 128; a lane sums
// every 32nd four of a part, lanes are summed as by `sum_of_warp`, parts in order.
//
// A block takes a tile of experts and rows, a warp of it a part of their columns: so all that a
// row needs is asked for at once, the weight while the kernel in front still runs. Small tiles for
// few rows, where what counts is how many multiprocessors read the weight; large ones where it is
// how often both are read.
//   1. a block for each row, experts by turns: 92 us for one row of V2-Lite with the choice, 175
//      for 32
//   2. this: 1.3 us, 2.1 for 32; 3.2 for one of V3 (an H100, in a chain of a graph)
#include "device.h"

namespace {

/// Four columns from `column` on of a row of `inner`; zeros from `end` on.
template <bool is_aligned>
DEVICE Float4 four(const float *row, int column, int end) {
  Float4 v = {};
  if (is_aligned) {
    if (column < end) v = *(const Float4 *)(row + column);
    return v;
  }
  if (column < end) v.x = row[column];
  if (column + 1 < end) v.y = row[column + 1];
  if (column + 2 < end) v.z = row[column + 2];
  if (column + 3 < end) v.w = row[column + 3];
  return v;
}

/// Sums each of `count` values over the lanes, as `sum_of_warp` does, with fewer exchanges: after
/// each, a lane goes on with half of them. Lane `l` ends with those from `l * count / 32` on.
template <int count, int mask = 16>
DEVICE void sum_each_of_warp(float *values) {
  if constexpr (mask > 0) {
    constexpr int half = (count + 1) / 2;
    UNROLL for (int i = 0; i < half; i++) {
      if constexpr (count > 1) {
        const bool is_upper = thread_index() & mask;
        const float given = is_upper ? values[i] : values[i + half];
        values[i] = (is_upper ? values[i + half] : values[i]) + shuffle_xor(given, mask);
      } else {
        values[i] += shuffle_xor(values[i], mask);
      }
    }
    sum_each_of_warp<half, mask / 2>(values);
  }
}

/// A tile of `experts` and `rows`; `steps` spans of a part are read at once.
template <int experts, int rows, int steps>
struct Tile {
  static constexpr int count = experts * rows;

  const cu_route &op;
  const float *weights[experts], *inputs[rows];
  float sums[count] = {};

  DEVICE_MEMBER explicit Tile(const cu_route &op) : op(op) {
    const int last_row = op.step->counts[0] - 1;
    // What is beyond the last is computed as the last, and not written.
    UNROLL for (int e = 0; e < experts; e++) {
      const int expert = block_x() * experts + e;
      weights[e] = op.weight + (int64_t)(expert < op.experts ? expert : op.experts - 1) * op.inner;
    }
    UNROLL for (int r = 0; r < rows; r++) {
      const int row = block_y() * rows + r;
      inputs[r] = op.input + (row < last_row ? row : last_row) * op.input_stride;
    }
  }

  template <bool is_aligned>
  DEVICE_MEMBER void add(int column, int end) {
    Float4 w[steps][experts], x[rows];
    UNROLL for (int s = 0; s < steps; s++) {
      UNROLL for (int e = 0; e < experts; e++) {
        w[s][e] = four<is_aligned>(weights[e], column + s * cu_span, end);
      }
    }
    wait_for_previous();
    UNROLL for (int s = 0; s < steps; s++) {
      UNROLL for (int r = 0; r < rows; r++) {
        x[r] = four<is_aligned>(inputs[r], column + s * cu_span, end);
      }
      UNROLL for (int i = 0; i < count; i++) {
        const Float4 &a = x[i % rows], &b = w[s][i / rows];
        sums[i] = fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sums[i]))));
      }
    }
  }

  DEVICE_MEMBER void run(float (&parts)[cu_product_warps][count]) {
    const int warp = thread_index() / 32, lane = thread_index() % 32;
    const int spans = (op.inner + cu_span - 1) / cu_span;
    const int part = (spans + cu_product_warps - 1) / cu_product_warps * cu_span;
    const int begin = warp * part, end = begin + part < op.inner ? begin + part : op.inner;
    const bool is_aligned = op.inner % 4 == 0;
    for (int column = begin; column < end; column += steps * cu_span) {
      if (is_aligned) add<true>(column + 4 * lane, end);
      else add<false>(column + 4 * lane, end);
    }
    sum_each_of_warp<count>(sums);
    constexpr int kept = (count + 31) / 32, sharing = count < 32 ? 32 / count : 1;
    UNROLL for (int i = 0; i < kept; i++) {
      if (lane % sharing == 0) parts[warp][lane / sharing * kept + i] = sums[i];
    }
    sync_block();
  }
};

template <int experts, int rows, int steps>
DEVICE void score(const cu_route &op) {
  using Work = Tile<experts, rows, steps>;
  SHARED float parts[cu_product_warps][Work::count];
  const bool is_empty = block_y() * rows >= op.step->counts[0];
  if (!is_empty) Work(op).run(parts);
  wait_for_previous();
  if (is_empty) return;
  const int i = thread_index();
  const int expert = block_x() * experts + i / rows, row = block_y() * rows + i % rows;
  if (i >= Work::count || expert >= op.experts || row >= op.step->counts[0]) return;
  float sum = parts[0][i];
  UNROLL for (int warp = 1; warp < cu_product_warps; warp++) sum += parts[warp][i];
  op.scores[(int64_t)row * op.experts + expert] = sum;
}

}  // namespace

// Grid: tiles of experts, tiles of rows.
// With the choice of few rows behind them, `route_choose.cu`.
EARLY_KERNEL(route_1, cu_route, cu_threads) { score<1, 1, 8>(op); }
EARLY_KERNEL(route_4, cu_route, cu_threads) { score<4, 4, 2>(op); }
EARLY_KERNEL(route_8, cu_route, cu_threads) { score<8, 8, 1>(op); }
