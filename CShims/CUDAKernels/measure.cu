// SPDX-License-Identifier: Apache-2.0
// What a GPU can do at most, measured with the instructions that the other kernels use.
//   measure_read      reads `bytes` once, 16 bytes a thread, four in flight.
//   measure_copy      the same, and writes it to `output`.
//   measure_fill      numbers of both signs from 1/2 to 3/4 in bfloat16; as e4m3 no byte is NaN.
//   measure_matrices  `repeats` times 8 independent products of tiles a warp: 8 · 4,096 flops, of
//                     numbers that differ, since equal ones take less power.
// The results mean nothing; they are written so that the work is done.
#include "device.h"

// Grid: any number of blocks.
KERNEL(measure_read, cu_measure, cu_threads) {
  const int64_t count = op.bytes / 16, step = (int64_t)grid_x() * cu_threads;
  const Words4 *words = (const Words4 *)op.source;
  uint32_t sum = 0;
  int64_t i = (int64_t)block_x() * cu_threads + thread_index();
  for (; i + 3 * step < count; i += 4 * step) {
    Words4 four[4];
    UNROLL for (int j = 0; j < 4; j++) four[j] = load_once(words + i + j * step);
    UNROLL for (int j = 0; j < 4; j++) sum += four[j].x ^ four[j].y ^ four[j].z ^ four[j].w;
  }
  if (sum == 0x5113ca) op.output[0] = sum;
}

// Grid: any number of blocks.
KERNEL(measure_copy, cu_measure, cu_threads) {
  const int64_t count = op.bytes / 16, step = (int64_t)grid_x() * cu_threads;
  const Words4 *from = (const Words4 *)op.source;
  Words4 *to = (Words4 *)op.output;
  int64_t i = (int64_t)block_x() * cu_threads + thread_index();
  for (; i + 3 * step < count; i += 4 * step) {
    Words4 four[4];
    UNROLL for (int j = 0; j < 4; j++) four[j] = load_once(from + i + j * step);
    UNROLL for (int j = 0; j < 4; j++) to[i + j * step] = four[j];
  }
  for (; i < count; i += step) to[i] = load_once(from + i);
}

namespace {

DEVICE uint32_t number_pair(uint32_t seed) {
  uint32_t bits = seed * 0x9e3779b9u;
  bits = (bits ^ bits >> 15) * 0x85ebca6bu;
  bits ^= bits >> 13;
  return (bits & 0x803f803fu) | 0x3f003f00u;
}

}  // namespace

// Grid: any number of blocks.
KERNEL(measure_fill, cu_measure, cu_threads) {
  const int64_t step = (int64_t)grid_x() * cu_threads;
  int64_t i = (int64_t)block_x() * cu_threads + thread_index();
  for (; i < op.bytes / 4; i += step) op.output[i] = number_pair((uint32_t)i);
}

// Grid: any number of blocks.
KERNEL(measure_matrices, cu_measure, cu_threads) {
  float sums[8][4] = {};
  uint32_t a[4], b[8][2];
  const uint32_t seed = (uint32_t)(block_x() * cu_threads + thread_index()) * 20;
  UNROLL for (int j = 0; j < 4; j++) a[j] = number_pair(seed + (uint32_t)j);
  UNROLL for (int j = 0; j < 8; j++) {
    b[j][0] = number_pair(seed + 4 + (uint32_t)j), b[j][1] = number_pair(seed + 12 + (uint32_t)j);
  }
  for (int i = 0; i < op.repeats; i++) {
    UNROLL for (int j = 0; j < 8; j++) multiply_tile(sums[j], a, b[j][0], b[j][1]);
  }
  float sum = 0;
  UNROLL for (int j = 0; j < 8; j++) sum += sums[j][0] + sums[j][1] + sums[j][2] + sums[j][3];
  if (sum == 12345.678f) op.output[0] = 1;
}
