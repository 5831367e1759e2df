// SPDX-License-Identifier: Apache-2.0
// output = input / sqrt(mean(input²) + epsilon) · weight, over some columns of a row. A block takes
// a row: each thread sums every 256th square, then the threads' sums are added in a fixed order.
#include "device.h"

// Grid: rows.
KERNEL(rms_norm, cu_norm, cu_threads) {
  SHARED float scratch[cu_threads / 32];
  const int row = block_x(), width = op.input.width;
  if (row >= op.step->counts[op.space]) return;
  const float *input = op.input.data + row * op.input.stride;
  float sum = 0;
  for (int column = thread_index(); column < width; column += cu_threads) {
    sum += input[column] * input[column];
  }
  const float mean = sum_of_block(sum, scratch) / width;
  const float inverse = 1 / sqrtf(mean + op.epsilon);
  for (int column = thread_index(); column < width; column += cu_threads) {
    put(op.output, row, column, input[column] * inverse * op.weight[column]);
  }
}
