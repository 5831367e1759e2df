// SPDX-License-Identifier: Apache-2.0
// Chooses experts by their scores (`route.cu`): s = softmax or sigmoid of them; the choice is made
// on c = s + bias. With groups only the best `kept_groups` stay: a group's score is its largest c,
// or the sum of its two largest; experts of the others count as c = 0 (by the largest) or -inf, and
// s = 0. The `top_k` largest c win, of equal ones the lowest index, what is no number after all
// numbers; their weights are s, divided by their sum (+ 1e-20) if asked for, times `scale`.
//
// And sorts the slots by expert (`slots.h`), where one block has all rows; `experts.cu`, where not.
//
// Shapes: scores [rows, experts], choices [rows, top_k].
//   1. all by the first warp of a row's block, each slot's place by walking over all slots
//   2. a warp for each row, its lanes with some experts each in registers; sorted by the same
//      block, where there is but one: 4.7 us for one row of V2-Lite, 9.0 for 32
//   3. registers for as many experts as there are, neighbours in one lane, so that a vote finds the
//      first of equal ones: 2.9 us for one row of V2-Lite, 3.6 for 32; 7.0 for one of V3
//   4. this: no branches, no exact divisions, places from what the warp still knows
#include "slots.h"

namespace {

/// Greater for what is chosen first; of what cannot be chosen, 0.
DEVICE uint32_t key_of(float value) {
  const uint32_t bits = bits_of(value + 0.f);
  if (value != value) return 1;
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/// Whether this lane's `key` is the greatest of the warp, of equal ones that of the lowest lane.
DEVICE bool is_chosen(uint32_t key, uint32_t &greatest) {
  greatest = largest_of_warp(key);
  const uint32_t lanes = vote(key == greatest), lane = (uint32_t)thread_index() % 32;
  return lanes >> lane & 1 && (lanes & ((1u << lane) - 1)) == 0;
}

/// The two largest of what a lane sees, and of what it is told.
struct Largest {
  float first = -INFINITE, second = -INFINITE;

  DEVICE_MEMBER void add(float value, float next = -INFINITE) {
    second = fmaxf(fmaxf(second, next), value > first ? first : value);
    first = fmaxf(first, value);
  }
};

/// A row's choice, by a warp: lane `l` has the `per_lane` experts from `l * per_lane` on.
template <int per_lane>
struct Choice {
  const cu_route &op;
  /// Of the warp: as many as experts.
  float *shared;
  const int lane = thread_index() % 32;
  float scores[per_lane] = {}, biases[per_lane] = {};
  uint32_t keys[per_lane] = {};

  DEVICE_MEMBER int expert(int j) const { return lane * per_lane + j; }
  DEVICE_MEMBER bool has(int j) const { return expert(j) < op.experts; }

  DEVICE_MEMBER void read_biases() {
    if (!op.bias) return;
    UNROLL for (int j = 0; j < per_lane; j++) if (has(j)) biases[j] = op.bias[expert(j)];
  }

  DEVICE_MEMBER void read(int row) {
    const float *values = op.scores + (int64_t)row * op.experts;
    UNROLL for (int j = 0; j < per_lane; j++) scores[j] = has(j) ? values[expert(j)] : -INFINITE;
    if (!op.sigmoid) return softmax();
    UNROLL for (int j = 0; j < per_lane; j++) scores[j] = reciprocal(1 + expf(-scores[j]));
  }

  DEVICE_MEMBER void softmax() {
    float largest = -INFINITE, sum = 0;
    UNROLL for (int j = 0; j < per_lane; j++) largest = fmaxf(largest, scores[j]);
    largest = largest_of_warp(largest);
    UNROLL for (int j = 0; j < per_lane; j++) {
      scores[j] = has(j) ? expf(scores[j] - largest) : 0;
      sum += scores[j];
    }
    const float inverse = reciprocal(sum_of_warp(sum));
    UNROLL for (int j = 0; j < per_lane; j++) scores[j] *= inverse;
  }

  DEVICE_MEMBER void rate() {
    UNROLL for (int j = 0; j < per_lane; j++) {
      const float candidate = scores[j] + biases[j];
      keys[j] = has(j) ? key_of(candidate) : 0;
      if (op.groups > 0 && has(j)) shared[expert(j)] = candidate;
    }
    if (op.groups > 0) drop_groups();
  }

  /// The key of group `lane / share`, in the first of the lanes that share it; 0 in the others.
  DEVICE_MEMBER uint32_t key_of_group(int share) const {
    const int size = op.experts / op.groups, group = lane / share;
    Largest largest;
    if (group < op.groups) {
      UNROLL for (int i = lane % share; i < size; i += share) {
        largest.add(shared[group * size + i]);
      }
    }
    for (int mask = share / 2; mask > 0; mask /= 2) {
      const float first = shuffle_xor(largest.first, mask);
      largest.add(first, shuffle_xor(largest.second, mask));
    }
    const bool is_sum = op.group_by_two_largest && size > 1;
    const float score = is_sum ? largest.first + largest.second : largest.first;
    return lane % share == 0 && group < op.groups ? key_of(score) : 0;
  }

  DEVICE_MEMBER void drop_groups() {
    sync_warp();
    int share = 1;
    while (2 * share * op.groups <= 32) share *= 2;
    uint32_t key = key_of_group(share);
    for (int kept = 0; kept < op.kept_groups; kept++) {
      uint32_t greatest;
      if (is_chosen(key, greatest)) key = 0;
    }
    const uint32_t dropped = vote(key != 0);
    const int size = op.experts / op.groups;
    int group = expert(0) / size, left = (group + 1) * size - expert(0);
    UNROLL for (int j = 0; j < per_lane; j++) {
      if (has(j) && dropped >> group * share & 1) {
        keys[j] = key_of(op.group_by_two_largest ? -INFINITE : 0.f);
        scores[j] = 0;
      }
      if (--left == 0) group++, left = size;
    }
  }

  /// The lane's first expert with that key has rank `k`. Without branches: that is faster.
  DEVICE_MEMBER void take(uint32_t key, int k, int (&ranks)[per_lane]) {
    int first = 0;
    UNROLL for (int j = per_lane - 1; j >= 0; j--) first = keys[j] == key ? j : first;
    float score = 0;
    UNROLL for (int j = 0; j < per_lane; j++) {
      score = j == first ? scores[j] : score;
      ranks[j] = j == first ? k : ranks[j];
      keys[j] = j == first ? 0 : keys[j];
    }
    shared[k] = score;
  }

  /// Sets the row's bit in the masks of what it chooses, and leaves those experts in `shared`, by
  /// rank.
  DEVICE_MEMBER void choose(cu_choice *choices, uint32_t *masks, uint32_t bit) {
    int ranks[per_lane];
    UNROLL for (int j = 0; j < per_lane; j++) ranks[j] = -1;
    for (int k = 0; k < op.top_k; k++) {
      uint32_t own = 0, greatest;
      UNROLL for (int j = 0; j < per_lane; j++) own = keys[j] > own ? keys[j] : own;
      if (is_chosen(own, greatest)) take(greatest, k, ranks);
    }
    sync_warp();
    float factor = op.scale;
    if (op.normalize) {
      float sum = 0;
      for (int k = 0; k < op.top_k; k++) sum += shared[k];
      factor *= reciprocal(sum + 1e-20f);
      sync_warp();
    }
    UNROLL for (int j = 0; j < per_lane; j++) {
      if (ranks[j] < 0) continue;
      choices[ranks[j]] = {expert(j), scores[j] * factor};
      shared[ranks[j]] = float_of((uint32_t)expert(j));
      or_shared(masks + expert(j), bit);
    }
    sync_warp();
  }
};

/// For the 32 rows of a block, of so many.
template <int threads, int per_lane>
DEVICE void choose(const cu_route &op, int block, int blocks) {
  constexpr int warps = threads / 32, most = 32 * per_lane;
  SHARED float shared[warps][most];
  SHARED uint32_t masks[most];
  SHARED int32_t starts[most], work_starts[most];
  const int first_row = block * cu_mask_rows, warp = thread_index() / 32;
  for (int expert = thread_index(); expert < op.experts; expert += threads) masks[expert] = 0;
  sync_block();
  for (int r = warp; r < cu_mask_rows; r += warps) {
    const int row = first_row + r;
    if (row >= op.step->counts[0]) break;
    Choice<per_lane> choice = {op, shared[warp]};
    choice.read_biases();
    wait_for_previous();
    choice.read(row);
    choice.rate();
    choice.choose(op.choices + (int64_t)row * op.top_k, masks, 1u << r);
  }
  wait_for_previous();
  if (first_row >= op.step->counts[0]) return;
  sync_block();
  if (blocks > 1) {
    for (int expert = thread_index(); expert < op.experts; expert += threads) {
      op.masks[(int64_t)block * op.experts + expert] = masks[expert];
    }
    return;
  }
  const auto count_of = [&](int expert) { return count_bits(masks[expert]); };
  const int work = start_each<threads>(op, count_of, starts, work_starts);
  list_work<threads>(op, count_of, starts, work_starts, work);
  place<threads>(op, first_row, starts, masks, [&](int r, int k) {
    // A warp that had several rows has kept the last one's only.
    return warps == cu_mask_rows ? (int)bits_of(shared[r][k])
                                 : op.choices[(first_row + r) * op.top_k + k].expert;
  });
}

}  // namespace

// Grid: 32 rows each. A single block sorts the slots as well.
#define CHOOSE(experts, threads)                                \
  EARLY_KERNEL(choose_##experts, cu_route, threads) {           \
    choose<threads, experts / 32>(op, block_x(), grid_x());     \
  }
CHOOSE(64, cu_choose_threads)
CHOOSE(256, cu_choose_threads)
CHOOSE(1024, cu_choose_many_threads)
