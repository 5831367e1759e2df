// SPDX-License-Identifier: Apache-2.0
// Operations whose elements know nothing of each other. A block takes one row.
//   swiglu  output = left / (1 + exp(-left)) · right
//   add     output = left + right
//   join    output = [left | right]
//   select  output[i] = input[output_rows[i]]
//   embed   output[r] = table[tokens[r]], the table in floats or bfloat16
//   narrow_rows  floats as bfloat16, for the products that follow
#include "device.h"

// Grid: rows, times `repeat`.
KERNEL(swiglu, cu_binary, cu_threads) {
  const int row = block_x();
  if (row >= op.step->counts[op.space] * op.repeat) return;
  const float *left = op.left + row * op.left_stride, *right = op.right + row * op.right_stride;
  for (int column = thread_index(); column < op.left_width; column += cu_threads) {
    const float gate = left[column];
    put(op.output, row, column, gate / (1 + expf(-gate)) * right[column]);
  }
}

// Grid: rows.
KERNEL(add, cu_binary, cu_threads) {
  const int row = block_x();
  if (row >= op.step->counts[op.space]) return;
  const float *left = op.left + row * op.left_stride, *right = op.right + row * op.right_stride;
  for (int column = thread_index(); column < op.left_width; column += cu_threads) {
    put(op.output, row, column, left[column] + right[column]);
  }
}

// Grid: rows.
KERNEL(join, cu_binary, cu_threads) {
  const int row = block_x();
  if (row >= op.step->counts[op.space]) return;
  const float *left = op.left + row * op.left_stride, *right = op.right + row * op.right_stride;
  for (int column = thread_index(); column < op.left_width; column += cu_threads) {
    put(op.output, row, column, left[column]);
  }
  for (int column = thread_index(); column < op.right_width; column += cu_threads) {
    put(op.output, row, op.left_width + column, right[column]);
  }
}

// Grid: outputs.
KERNEL(select_outputs, cu_select, cu_threads) {
  if (block_x() >= op.step->counts[1]) return;
  const float *input = op.input + op.step->output_rows[block_x()] * op.input_stride;
  for (int column = thread_index(); column < op.width; column += cu_threads) {
    put(op.output, block_x(), column, input[column]);
  }
}

// Grid: rows.
KERNEL(embed, cu_embed, cu_threads) {
  if (block_x() >= op.step->counts[0]) return;
  const int64_t start = (int64_t)op.step->tokens[block_x()] * op.width;
  for (int column = thread_index(); column < op.width; column += cu_threads) {
    const float value = op.table_is_bf16
      ? float_of_bf16(((const uint16_t *)op.table)[start + column])
      : ((const float *)op.table)[start + column];
    put(op.output, block_x(), column, value);
  }
}

// Grid: rows.
KERNEL(narrow_rows, cu_narrow_rows, cu_threads) {
  if (block_x() >= op.step->counts[op.space]) return;
  const float *row = op.rows.floats + block_x() * op.rows.stride;
  for (int column = thread_index(); column < op.width; column += cu_threads) {
    op.rows.narrow[block_x() * op.rows.narrow_stride + column] = bf16_bits(row[column]);
  }
}
