// SPDX-License-Identifier: Apache-2.0
// The last step of attention where a row's keys are on several devices, a slice on each: the host's
// merge (`Sources/Slicing/Merge.swift`), operation by operation and so bit for bit.
//   M = largest log-sum-exp; w = exp(lse - M) / Σ exp(lse - M); output = Σ w · the slice's output
// over the slices in their order. One without keys has lse = -inf and adds nothing; where none has
// any, the output is 0. Exponentials and their sum have 64 bits: one for each head and slice.
//
// A warp takes a head of a row: a lane a slice's weight, then every 32nd column.
// Ladder: (1) this. Not yet measured on a GPU.
#include "device.h"

namespace {

/// e^x for x up to 0, as `exponential` has it.
DEVICE double exponential(double x) {
  if (x <= -700) return 0;
  const double k = round(multiply_apart(x, 1.4426950408889634));
  const double r = add_apart(add_apart(x, -multiply_apart(k, 6.931471803691238e-1)),
                             -multiply_apart(k, 1.9082149292705877e-10));
  double term = 1, sum = 1;
  UNROLL for (int n = 1; n <= 13; n++) {
    term = multiply_apart(term, r / n);
    sum = add_apart(sum, term);
  }
  return multiply_apart(sum, double_of((uint64_t)((int)k + 1023) << 52));
}

DEVICE const float *output_of(const cu_slices &op, int slice, int row) {
  return (slice == 0 ? op.output.floats : op.others[slice - 1]) + row * op.output.stride;
}

DEVICE float log_of(const cu_slices &op, int slice, int row, int head) {
  const float *logs = slice == 0 ? op.log_sum_exp : op.others[slice - 1] + op.log_offset;
  return logs[row * op.log_stride + head];
}

/// The slices' weights for a head of a row. All of a warp call it; the arrays are its own.
DEVICE void weigh(const cu_slices &op, int row, int head, double *exponentials, float *weights) {
  constexpr int each = cu_slices_max / 32;
  float logs[each], largest = -INFINITE;
  UNROLL for (int i = 0; i < each; i++) {
    const int slice = 32 * i + thread_index() % 32;
    logs[i] = slice < op.count ? log_of(op, slice, row, head) : -INFINITE;
    largest = fmaxf(largest, logs[i]);
  }
  largest = largest_of_warp(largest);
  const bool has_keys = largest != -INFINITE;
  UNROLL for (int i = 0; i < each; i++) {
    const int slice = 32 * i + thread_index() % 32;
    if (slice < op.count) {
      exponentials[slice] = has_keys ? exponential(add_apart(logs[i], -largest)) : 0;
    }
  }
  sync_warp();
  double sum = 0;
  for (int slice = 0; slice < op.count; slice++) sum = add_apart(sum, exponentials[slice]);
  for (int slice = thread_index() % 32; slice < op.count; slice += 32) {
    weights[slice] = has_keys ? (float)(exponentials[slice] / sum) : 0.f;
  }
  sync_warp();
}

}  // namespace

// Grid: rows, times blocks of a head for each warp.
KERNEL(merge_slices, cu_slices, cu_threads) {
  constexpr int warps = cu_threads / 32;
  SHARED double exponentials[warps][cu_slices_max];
  SHARED float weights[warps][cu_slices_max];
  const int warp = thread_index() / 32, blocks = (op.heads + warps - 1) / warps;
  const int row = block_x() / blocks, head = block_x() % blocks * warps + warp;
  if (row >= op.step->counts[0] || head >= op.heads) return;
  weigh(op, row, head, exponentials[warp], weights[warp]);
  for (int column = thread_index() % 32; column < op.width; column += 32) {
    const int place = head * op.width + column;
    float sum = 0;
    for (int slice = 0; slice < op.count; slice++) {
      const float weight = weights[warp][slice];
      // What no key has part in may be anything.
      if (weight == 0) continue;
      sum = add_apart(sum, multiply_apart(weight, output_of(op, slice, row)[place]));
    }
    put(op.output, row, place, sum);
  }
}
