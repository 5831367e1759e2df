// SPDX-License-Identifier: Apache-2.0
// Chooses experts: s = softmax or sigmoid of input · weightᵀ, in 32-bit floats; the choice is made
// on c = s + bias. With groups only the best `kept_groups` stay: a group's score is its largest c,
// or the sum of its two largest; experts of the others count as c = 0 (by the largest) or -inf, and
// s = 0. The `top_k` largest c win, of equal ones the lowest index; their weights are s, divided by
// their sum (+ 1e-20) if asked for, times `scale`.
//
// Shapes: input [rows, inner], weight [experts, inner], choices [rows, top_k]. A block takes a row:
// its warps take experts in turn, its first warp then chooses.
#include "device.h"

namespace {

/// What is taken and must not be found again: no comparison prefers a NaN.
#define TAKEN float_of(0x7fc00000u)

/// The index of the largest of `count` values that are no NaN, of equal ones the lowest; `count` if
/// there is none. Of a whole warp.
DEVICE int largest_index(const float *values, int count) {
  float best = -INFINITE;
  int index = count;
  for (int i = thread_index() % 32; i < count; i += 32) {
    const bool wins = index == count || values[i] > best;
    if (values[i] == values[i] && wins) best = values[i], index = i;
  }
  UNROLL for (int mask = 16; mask > 0; mask /= 2) {
    const float other = shuffle_xor(best, mask);
    const int other_index = shuffle_xor(index, mask);
    const bool wins = other > best || (other == best && other_index < index);
    if (other_index < count && (index == count || wins)) best = other, index = other_index;
  }
  return index;
}

DEVICE void score(const cu_route &op, float *scores) {
  const float *input = op.input + block_x() * op.input_stride;
  const int lane = thread_index() % 32;
  for (int expert = thread_index() / 32; expert < op.experts; expert += cu_threads / 32) {
    float sum = 0;
    for (int k = lane; k < op.inner; k += 32) {
      sum += input[k] * op.weight[(int64_t)expert * op.inner + k];
    }
    sum = sum_of_warp(sum);
    if (lane == 0) scores[expert] = op.sigmoid ? 1 / (1 + expf(-sum)) : sum;
  }
}

/// Of the first warp.
DEVICE void softmax(float *scores, int count) {
  const int lane = thread_index();
  float largest = -INFINITE, sum = 0;
  for (int i = lane; i < count; i += 32) largest = fmaxf(largest, scores[i]);
  largest = largest_of_warp(largest);
  for (int i = lane; i < count; i += 32) {
    scores[i] = expf(scores[i] - largest);
    sum += scores[i];
  }
  sum = sum_of_warp(sum);
  for (int i = lane; i < count; i += 32) scores[i] /= sum;
  sync_warp();
}

/// Of the first warp: a lane takes a group in turn, then all choose those that stay.
DEVICE void drop_groups(const cu_route &op, float *scores, float *candidates, float *groups) {
  const int lane = thread_index(), size = op.experts / op.groups;
  for (int group = lane; group < op.groups; group += 32) {
    float first = -INFINITE, second = -INFINITE;
    for (int i = group * size; i < (group + 1) * size; i++) {
      const float value = candidates[i];
      second = value > first ? first : fmaxf(second, value);
      first = fmaxf(first, value);
    }
    groups[group] = op.group_by_two_largest && size > 1 ? first + second : first;
  }
  sync_warp();
  for (int kept = 0; kept < op.kept_groups; kept++) {
    const int found = largest_index(groups, op.groups), best = found < op.groups ? found : kept;
    sync_warp();
    if (lane == 0) groups[best] = TAKEN, groups[op.groups + best] = 1;
    sync_warp();
  }
  for (int i = lane; i < op.experts; i += 32) {
    if (groups[op.groups + i / size] == 1) continue;
    candidates[i] = op.group_by_two_largest ? -INFINITE : 0.f;
    scores[i] = 0;
  }
  sync_warp();
}

}  // namespace

// Grid: rows.
KERNEL(route, cu_route, cu_threads) {
  SHARED float scores[cu_experts_max], candidates[cu_experts_max], groups[2 * cu_experts_max];
  SHARED float taken[cu_experts_max];
  if (block_x() >= op.step->counts[0]) return;
  score(op, scores);
  sync_block();
  if (thread_index() >= 32) return;
  const int lane = thread_index();
  if (!op.sigmoid) softmax(scores, op.experts);
  for (int i = lane; i < op.experts; i += 32) {
    candidates[i] = scores[i] + (op.bias ? op.bias[i] : 0.f);
    groups[i] = groups[op.experts + i] = 0;
  }
  sync_warp();
  if (op.groups > 0) drop_groups(op, scores, candidates, groups);
  cu_choice *choices = op.choices + (int64_t)block_x() * op.top_k;
  for (int k = 0; k < op.top_k; k++) {
    // Scores that are no numbers choose some experts, but no expert twice and none that is not.
    const int found = largest_index(candidates, op.experts), best = found < op.experts ? found : k;
    sync_warp();
    if (lane == 0) {
      choices[k].expert = best;
      taken[k] = scores[best];
      candidates[best] = TAKEN;
    }
    sync_warp();
  }
  if (lane != 0) return;
  float sum = 0;
  for (int k = 0; k < op.top_k; k++) sum += taken[k];
  const float factor = op.normalize ? op.scale / (sum + 1e-20f) : op.scale;
  for (int k = 0; k < op.top_k; k++) choices[k].weight = taken[k] * factor;
}
