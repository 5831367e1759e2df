// SPDX-License-Identifier: Apache-2.0
// Operations whose elements know nothing of each other. A block takes one row.
//   swiglu  output = left / (1 + exp(-left)) · right
//   add     output = left + right
//   join    output = [left | right]
//   select  output[i] = input[output_rows[i]]
//   embed   output[r] = table[tokens[r]], the table in floats or bfloat16
#include "device.h"

// Grid: rows, times `repeat`.
KERNEL(swiglu, cu_binary, cu_threads) {
  const int row = block_x();
  if (row >= op.step->counts[op.space] * op.repeat) return;
  const float *left = op.left + row * op.left_stride, *right = op.right + row * op.right_stride;
  for (int column = thread_index(); column < op.left_width; column += cu_threads) {
    const float gate = left[column];
    op.output[row * op.output_stride + column] = gate / (1 + expf(-gate)) * right[column];
  }
}

// Grid: rows.
KERNEL(add, cu_binary, cu_threads) {
  const int row = block_x();
  if (row >= op.step->counts[op.space]) return;
  const float *left = op.left + row * op.left_stride, *right = op.right + row * op.right_stride;
  for (int column = thread_index(); column < op.left_width; column += cu_threads) {
    op.output[row * op.output_stride + column] = left[column] + right[column];
  }
}

// Grid: rows.
KERNEL(join, cu_binary, cu_threads) {
  const int row = block_x();
  if (row >= op.step->counts[op.space]) return;
  const float *left = op.left + row * op.left_stride, *right = op.right + row * op.right_stride;
  float *output = op.output + row * op.output_stride;
  for (int column = thread_index(); column < op.left_width; column += cu_threads) {
    output[column] = left[column];
  }
  for (int column = thread_index(); column < op.right_width; column += cu_threads) {
    output[op.left_width + column] = right[column];
  }
}

// Grid: outputs.
KERNEL(select_outputs, cu_select, cu_threads) {
  if (block_x() >= op.step->counts[1]) return;
  const float *input = op.input + op.step->output_rows[block_x()] * op.input_stride;
  float *output = op.output + block_x() * op.output_stride;
  for (int column = thread_index(); column < op.width; column += cu_threads) {
    output[column] = input[column];
  }
}

// Grid: rows.
KERNEL(embed, cu_embed, cu_threads) {
  if (block_x() >= op.step->counts[0]) return;
  const int64_t start = (int64_t)op.step->tokens[block_x()] * op.width;
  float *output = op.output + block_x() * op.output_stride;
  for (int column = thread_index(); column < op.width; column += cu_threads) {
    output[column] = op.table_is_bf16
      ? float_of_bf16(((const uint16_t *)op.table)[start + column])
      : ((const float *)op.table)[start + column];
  }
}
