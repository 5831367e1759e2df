// SPDX-License-Identifier: Apache-2.0
// Slots (row · top_k + rank) sorted by expert, those of an expert in order, so that each expert's
// weights are read once for all its tokens. A row chooses an expert once at most, so 32 rows are 32
// bits of a mask for each expert; a slot's place is where its expert starts, and how many bits are
// set before its own.
//
// And the list of what blocks of the experts' products do: only experts that somebody chose. For
// one row of V2-Lite 58 of 64 have nothing to do, and their blocks would have to find that out.
//
// Shapes: order [rows · top_k], work [work_count], masks [ceil(rows / 32), experts].
#pragma once
#include "device.h"

/// Where each expert's slots and pieces of work start, from how many slots each has. Of a whole
/// block: each thread takes as many neighbours as it must. Returns how many pieces there are.
template <int threads, class CountOf>
DEVICE int start_each(const cu_route &op, CountOf count_of, int32_t *starts,
                      int32_t *work_starts) {
  SHARED int32_t sums[threads / 32], work_sums[threads / 32];
  const int lane = thread_index() % 32, warp = thread_index() / 32;
  const int share = (op.experts + threads - 1) / threads, first = thread_index() * share;
  const int last = first + share < op.experts ? first + share : op.experts;
  const auto pieces = [&](int count) { return (count + op.work_slots - 1) / op.work_slots; };
  int32_t own = 0, own_work = 0;
  for (int expert = first; expert < last; expert++) {
    own += count_of(expert);
    own_work += pieces(count_of(expert));
  }
  int32_t before = own, work_before = own_work;
  UNROLL for (int distance = 1; distance < 32; distance *= 2) {
    const int32_t other = shuffle_up(before, distance);
    const int32_t other_work = shuffle_up(work_before, distance);
    if (lane >= distance) before += other, work_before += other_work;
  }
  if (lane == 31) sums[warp] = before, work_sums[warp] = work_before;
  sync_block();
  before += sum_of_warp(lane < warp ? sums[lane] : 0) - own;
  work_before += sum_of_warp(lane < warp ? work_sums[lane] : 0) - own_work;
  const int work = sum_of_warp(lane < threads / 32 ? work_sums[lane] : 0);
  for (int expert = first; expert < last; expert++) {
    starts[expert] = before, work_starts[expert] = work_before;
    before += count_of(expert);
    work_before += pieces(count_of(expert));
  }
  sync_block();
  return work;
}

/// Writes the list of `work` pieces, and that there are no more.
template <int threads, class CountOf>
DEVICE void list_work(const cu_route &op, CountOf count_of, const int32_t *starts,
                      const int32_t *work_starts, int work) {
  for (int expert = thread_index(); expert < op.experts; expert += threads) {
    cu_expert_work *place = op.work + work_starts[expert];
    const int count = count_of(expert);
    for (int first = 0; first < count; first += op.work_slots) {
      const int left = count - first;
      *place++ = {expert, starts[expert] + first, left < op.work_slots ? left : op.work_slots, 0};
    }
  }
  for (int i = work + thread_index(); i < op.work_count; i += threads) op.work[i] = {0, 0, 0, 0};
}

/// Puts the slots of 32 rows to their places, a row for each warp in turn; `expert_of` gives the
/// choice of one of the rows and a rank.
template <int threads, class ExpertOf>
DEVICE void place(const cu_route &op, int first_row, const int32_t *starts, const uint32_t *masks,
                  ExpertOf expert_of) {
  const int left = op.step->counts[0] - first_row;
  for (int r = thread_index() / 32; r < cu_mask_rows && r < left; r += threads / 32) {
    for (int k = thread_index() % 32; k < op.top_k; k += 32) {
      const int expert = expert_of(r, k);
      const int before = count_bits(masks[expert] & ((1u << r) - 1));
      op.order[starts[expert] + before] = (first_row + r) * op.top_k + k;
    }
  }
}
