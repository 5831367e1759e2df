// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding: the pair (a, b) becomes (a·cos - b·sin, b·cos + a·sin), the angle
// being position · inverse frequency. Pair i is columns 2i and 2i + 1 (interleaved) or i and
// i + width / 2; of an odd width, the last column stays.
#pragma once
#include "device.h"

DEVICE float turned_first(float a, float b, const Float2 &angle) {
  return fmaf(a, angle.x, -(b * angle.y));
}
DEVICE float turned_second(float a, float b, const Float2 &angle) {
  return fmaf(b, angle.x, a * angle.y);
}

/// Cosine and sine of a row's pair.
DEVICE Float2 angle_of(const cu_turn &turn, int row, int pair, int pairs) {
  return ((const Float2 *)turn.angles)[(int64_t)row * pairs + pair];
}

/// A column of a group, turned if there are angles.
DEVICE float turned_column(const cu_turn &turn, int row, const float *group, int column,
                           int width) {
  const int pairs = width / 2;
  if (!turn.angles || column >= 2 * pairs) return group[column];
  const int pair = turn.interleaved ? column / 2 : column < pairs ? column : column - pairs;
  const int first = turn.interleaved ? 2 * pair : pair;
  const float a = group[first], b = group[turn.interleaved ? first + 1 : first + pairs];
  const Float2 angle = angle_of(turn, row, pair, pairs);
  return column == first ? turned_first(a, b, angle) : turned_second(a, b, angle);
}
