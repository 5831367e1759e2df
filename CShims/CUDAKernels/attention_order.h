// SPDX-License-Identifier: Apache-2.0
// In which order attention adds over a row's keys: the number of these decides, and nothing else.
//
// A tile of 64 keys gives a sum of its own. Tiles are folded in order to a group's sum, groups in
// order to the row's. Blocks may end with a tile, with a group or with the row: what is left is
// folded by `merge` in the same order, so that the bits are the same.
//
// Folding is exact where one side has no key: exp(0) = 1, exp(-inf) = 0. So a tile that is masked
// for one of the rows that a block takes together changes nothing for that row.
#pragma once
#include "cache.h"

/// Of some keys' scores, which are logarithms to base 2: the largest, and Σ 2^(score - largest).
struct Scores {
  float largest = -INFINITE, sum = 0;
};

/// What sums of values are multiplied with where they are added.
struct Fold {
  float before, added;
};

/// Zero in place of -inf, so that nothing minus nothing is not NaN.
DEVICE float exponent_base(float largest) { return largest == -INFINITE ? 0.f : largest; }

DEVICE Fold fold(Scores &scores, const Scores &added) {
  const float largest = fmaxf(scores.largest, added.largest), base = exponent_base(largest);
  const Fold factors = {exp2f(scores.largest - base), exp2f(added.largest - base)};
  scores.largest = largest;
  scores.sum = fmaf(scores.sum, factors.before, added.sum * factors.added);
  return factors;
}

DEVICE float folded(float before, float added, const Fold &factors) {
  return fmaf(before, factors.before, added * factors.added);
}

/// A row's output is its sums of values times this.
DEVICE float inverse_sum(const Scores &scores) { return scores.sum > 0 ? 1 / scores.sum : 0.f; }

DEVICE float log_sum_exp(const Scores &scores) {
  constexpr float log_2 = 0.693147180559945309f;
  return scores.sum > 0 ? (scores.largest + log2f(scores.sum)) * log_2 : -INFINITE;
}

DEVICE int tiles_of(int keys) { return (keys + cu_tile_keys - 1) / cu_tile_keys; }

/// Tiles of a group: a power of two.
DEVICE int tiles_of_group(int keys) {
  int size = cu_group_tiles_min;
  while (size * cu_key_groups_max < tiles_of(keys)) size *= 2;
  return size;
}

/// Tiles of what a block ends with: a power of two too.
DEVICE int tiles_of_part(int parts, int keys) {
  if (parts == cu_key_parts_all) return 1 << 30;
  return parts == cu_key_parts_tiles && tiles_of(keys) <= cu_key_parts_max ? 1
                                                                           : tiles_of_group(keys);
}
