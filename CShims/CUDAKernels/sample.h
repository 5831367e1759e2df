// SPDX-License-Identifier: Apache-2.0
// Parts of the kernels that choose a column of each row: sample.cu, adjust.cu, report.cu.
#pragma once
#include "device.h"
#include "sample_arguments.h"

/// What a thread knows of its row.
struct Row {
  const float *scores;
  float peak, scale;
  bool is_drawn, cuts;

  DEVICE_MEMBER Row(const cu_sample &op, int row) {
    scores = op.scores + row * op.stride;
    peak = float_of_ordered((uint32_t)(op.keys[row] >> 32));
    scale = op.draws[row].scale;
    is_drawn = op.draws[row].is_random && ~op.keys[row] && peak > -INFINITE;
    cuts = is_drawn && (op.draws[row].top_k > 0 || ~op.draws[row].top_p);
  }

  DEVICE_MEMBER float logarithm(float score) const {
    return multiply_apart(add_apart(score, -peak), scale);
  }
};

/// A score and its column in one number that rises as scores fall.
DEVICE uint64_t sort_key(float score, int column) {
  return (uint64_t)~ordered_bits(score) << 32 | (uint32_t)column;
}
DEVICE float score_of(uint64_t key) { return float_of_ordered(~(uint32_t)(key >> 32)); }

/// The same as a number that falls as scores do, as of `cu_largest`.
DEVICE uint64_t rank_key(float score, int column) {
  return (uint64_t)ordered_bits(score) << 32 | (0xffffffffu - (uint32_t)column);
}
DEVICE uint32_t column_of(uint64_t rank_key) { return 0xffffffffu - (uint32_t)rank_key; }

DEVICE int bucket_of(float logarithm) {
  const float distance = logarithm * -cu_buckets_per_nat;
  return distance < cu_buckets - 1 ? (int)distance : cu_buckets - 1;
}

/// e^x for x up to 0, operation by operation as `Exponential` has it.
DEVICE float weight_of(float x) {
  if (x < -87.f) return 0;
  const float magic = 12582912.f;
  const float shifted = add_apart(multiply_apart(x, 1.44269504f), magic);
  const float n = add_apart(shifted, -magic);
  const float r = add_apart(
    add_apart(x, -multiply_apart(n, 0.693359375f)), multiply_apart(n, 2.1219444e-4f));
  float p = add_apart(multiply_apart(r, 1.3888889e-3f), 8.3333333e-3f);
  p = add_apart(multiply_apart(p, r), 4.1666668e-2f);
  p = add_apart(multiply_apart(p, r), 0.16666667f);
  p = add_apart(multiply_apart(p, r), 0.5f);
  p = add_apart(multiply_apart(p, r), 1.f);
  p = add_apart(multiply_apart(p, r), 1.f);
  return multiply_apart(p, float_of((bits_of(shifted) - bits_of(magic) + 127) << 23));
}
DEVICE uint64_t units_of(float weight) {
  return whole_number(multiply_apart(weight, 1099511627776.f));
}

/// Of what the threads before this one of a block of `cu_threads` have, the sum; `total` becomes
/// that of all. `scratch` is shared.
DEVICE uint64_t sum_before(uint64_t value, uint64_t (&scratch)[cu_threads / 32], uint64_t &total) {
  const int lane = thread_index() % 32, warp = thread_index() / 32;
  uint64_t sum = value;
  UNROLL for (int distance = 1; distance < 32; distance *= 2) {
    const uint64_t below = shuffle_up(sum, distance);
    if (lane >= distance) sum += below;
  }
  sync_block();
  if (lane == 31) scratch[warp] = sum;
  sync_block();
  total = 0;
  UNROLL for (int other = 0; other < cu_threads / 32; other++) {
    if (other == warp) sum += total;
    total += scratch[other];
  }
  return sum - value;
}

/// The largest of a block, in every thread. `scratch` is shared.
DEVICE uint64_t largest_of_block(uint64_t value, uint64_t (&scratch)[cu_threads / 32]) {
  value = largest_of_warp(value);
  sync_block();
  if (thread_index() % 32 == 0) scratch[thread_index() / 32] = value;
  sync_block();
  UNROLL for (int warp = 0; warp < cu_threads / 32; warp++) {
    if (scratch[warp] > value) value = scratch[warp];
  }
  return value;
}
