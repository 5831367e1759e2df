// SPDX-License-Identifier: Apache-2.0
// Slots (row · top_k + rank) sorted by expert, those of an expert in order, so that each expert's
// weights are read once for all its tokens. A row chooses an expert once at most, so 32 rows are 32
// bits of a mask for each expert; a slot's place is where its expert starts, and how many bits are
// set before its own.
//
// Shapes: order [rows · top_k], starts [experts + 1], masks [ceil(rows / 32), experts].
#pragma once
#include "device.h"

/// Where each expert starts, from how many slots each has: `starts[experts]` is all of them. Of a
/// whole block: each thread takes as many neighbours as it must.
template <int threads>
DEVICE void start_each(const int32_t *counts, int32_t *starts, int experts) {
  SHARED int32_t sums[threads / 32];
  const int lane = thread_index() % 32, warp = thread_index() / 32;
  const int share = (experts + threads - 1) / threads, first = thread_index() * share;
  const int last = first + share < experts ? first + share : experts;
  sync_block();
  int32_t sum = 0;
  for (int expert = first; expert < last; expert++) sum += counts[expert];
  int32_t before = sum;
  UNROLL for (int distance = 1; distance < 32; distance *= 2) {
    const int32_t other = shuffle_up(before, distance);
    if (lane >= distance) before += other;
  }
  if (lane == 31) sums[warp] = before;
  sync_block();
  before += sum_of_warp(lane < warp ? sums[lane] : 0);
  if (thread_index() == threads - 1) starts[experts] = before;
  before -= sum;
  for (int expert = first; expert < last; expert++) {
    starts[expert] = before;
    before += counts[expert];
  }
  sync_block();
}

/// Puts the slots of a block's rows to their places, a row for each warp in turn; `expert_of` gives
/// the choice of a row of the block and a rank.
template <int threads, class ExpertOf>
DEVICE void place(const cu_route &op, const int32_t *starts, const uint32_t *masks,
                  ExpertOf expert_of) {
  const int first_row = block_x() * cu_mask_rows, left = op.step->counts[0] - first_row;
  for (int r = thread_index() / 32; r < cu_mask_rows && r < left; r += threads / 32) {
    for (int k = thread_index() % 32; k < op.top_k; k += 32) {
      const int expert = expert_of(r, k);
      const int before = count_bits(masks[expert] & ((1u << r) - 1));
      op.order[starts[expert] + before] = (first_row + r) * op.top_k + k;
    }
  }
}
