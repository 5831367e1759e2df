// SPDX-License-Identifier: Apache-2.0
// How a row is normed, by a kernel of its own (`norm.cu`) and by the blocks of a product that reads
// it (`few_norm.h`): the same sums in the same order, so the same bits.
//
//   output = input / sqrt(mean(input²) + epsilon) · weight, over some columns of a row
//
// Each of `cu_threads` threads sums the squares of every 256th four neighbours, a warp adds those
// of its lanes, and the warps' are added in order.
#pragma once
#include "coded_rows.h"

/// Columns that the threads have together, in fours.
constexpr int norm_pass = 4 * cu_threads;

/// Four neighbours of a row that may end, or begin, anywhere; zeros beyond its end.
DEVICE Float4 load_four(const float *row, int column, int width, bool is_aligned) {
  if (is_aligned && column + 4 <= width) return *(const Float4 *)(row + column);
  float x[4];
  UNROLL for (int i = 0; i < 4; i++) x[i] = column + i < width ? row[column + i] : 0.f;
  return {x[0], x[1], x[2], x[3]};
}

/// Said in full, since a compiler may join products and sums in several ways.
DEVICE float squares(const Float4 &x) {
  return fmaf(x.w, x.w, fmaf(x.z, x.z, fmaf(x.y, x.y, x.x * x.x)));
}

/// The weights of a thread's fours from a column on; no kernel of a step writes them.
template <int count>
DEVICE void load_norm_weights(const cu_norm &op, int column, Float4 (&weights)[count]) {
  UNROLL for (int i = 0; i < count; i++) {
    weights[i] = load_four(op.weight, column + i * norm_pass, op.input.width, true);
  }
}

/// A row of a norm's input.
struct NormRow {
  const float *data;
  int width;
  bool is_aligned;

  DEVICE_MEMBER NormRow(const cu_norm &op, int row)
      : data(op.input.data + row * op.input.stride), width(op.input.width),
        is_aligned((uintptr_t)op.input.data % 16 == 0 && op.input.stride % 4 == 0) {}

  /// A thread's fours from a column on, all asked for at once.
  template <int count> DEVICE_MEMBER void load(int column, Float4 (&x)[count]) const {
    UNROLL for (int i = 0; i < count; i++) {
      x[i] = load_four(data, column + i * norm_pass, width, is_aligned);
    }
  }

  /// A thread's sum; `x` becomes its first fours.
  template <int kept> DEVICE_MEMBER float sum(Float4 (&x)[kept]) const {
    const int first = 4 * thread_index(), step = kept * norm_pass;
    float sum = 0;
    load(first, x);
    UNROLL for (int i = 0; i < kept; i++) sum += squares(x[i]);
    for (int column = first + step; column < width; column += step) {
      Float4 more[kept];
      load(column, more);
      UNROLL for (int i = 0; i < kept; i++) sum += squares(more[i]);
    }
    return sum;
  }
};

/// What a row whose squares have that sum is multiplied with.
DEVICE float norm_factor(const cu_norm &op, float sum) {
  return 1 / sqrtf(sum / op.input.width + op.epsilon);
}

DEVICE Float4 normed(const Float4 &x, const Float4 &weight, float factor) {
  return {x.x * factor * weight.x, x.y * factor * weight.y, x.z * factor * weight.z,
          x.w * factor * weight.w};
}
