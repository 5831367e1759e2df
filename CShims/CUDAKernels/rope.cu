// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding by itself, in place; see `rope.h`. The angles of a step are computed
// once, for all layers.
#include "rope.h"

// Grid: rows.
KERNEL(rope_angles, cu_angles, cu_threads) {
  const int row = block_x();
  if (row >= op.step->counts[0]) return;
  for (int pair = thread_index(); pair < op.pairs; pair += cu_threads) {
    const float angle = (float)op.step->positions[row] * op.inverse_frequencies[pair];
    float *place = op.angles + ((int64_t)row * op.pairs + pair) * 2;
    place[0] = cosf(angle) * op.magnitude;
    place[1] = sinf(angle) * op.magnitude;
  }
}

// Grid: rows. A thread takes pairs of any group.
KERNEL(rope, cu_rope, cu_threads) {
  const int row = block_x(), pairs = op.columns.width / 2;
  if (row >= op.step->counts[0]) return;
  for (int index = thread_index(); index < pairs * op.columns.count; index += cu_threads) {
    const int group = index / pairs, pair = index % pairs;
    float *x = op.columns.data + row * op.columns.stride + (int64_t)group * op.columns.group;
    const Float2 angle = angle_of(op.turn, row, pair, pairs);
    float *first = x + (op.turn.interleaved ? 2 * pair : pair);
    float *second = op.turn.interleaved ? first + 1 : first + pairs;
    const float a = *first, b = *second;
    *first = turned_first(a, b, angle);
    *second = turned_second(a, b, angle);
  }
}
