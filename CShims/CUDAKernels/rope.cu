// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding, in place: the pair (a, b) becomes (a·cos - b·sin, b·cos + a·sin), the
// angle being position · inverse frequency. Pair i is columns 2i and 2i + 1 (interleaved) or i and
// i + width / 2. The angles of a step are computed once, for all layers.
#include "device.h"

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
    const float *angle = op.angles + ((int64_t)row * pairs + pair) * 2;
    float *first = x + (op.interleaved ? 2 * pair : pair);
    float *second = op.interleaved ? first + 1 : first + pairs;
    const float a = *first, b = *second;
    *first = a * angle[0] - b * angle[1];
    *second = b * angle[0] + a * angle[1];
  }
}
