// SPDX-License-Identifier: Apache-2.0
// Operations whose elements know nothing of each other. A block takes one row.
//   swiglu  output = left / (1 + exp(-left)) · right, as products have it (`open_gate`)
//   add     output = left + right
//   join    output = [left | right]
//   select  output[i] = input[output_rows[i]]
//   embed   output[r] = table[tokens[r]], the table in floats or bfloat16
//   largest_of_rows  the largest element of each row and where it is, as keys (`cu_largest`)
//   narrow_rows  floats as bfloat16, for the products that follow
//   quantize_rows  floats as codes (`coded_rows.h`), for products with codes
#include "coded_rows.h"
#include "ring.h"

// Grid: rows.
KERNEL(swiglu, cu_binary, cu_threads) {
  const int row = block_x();
  if (row >= op.step->counts[op.space]) return;
  const float *left = op.left + row * op.left_stride, *right = op.right + row * op.right_stride;
  for (int column = thread_index(); column < op.left_width; column += cu_threads) {
    const float gate = left[column];
    put(op.output, row, column, open_gate(gate, right[column]));
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
    op.rows.narrow[block_x() * op.rows.stride + column] = bf16_bits(row[column]);
  }
}

// Grid: rows, times those of each, times the blocks that a row needs. A warp takes a span.
KERNEL(quantize_rows, cu_quantize, cu_threads) {
  constexpr int warps = cu_threads / 32;
  const int spans = (op.width + cu_span - 1) / cu_span, blocks = (spans + warps - 1) / warps;
  const int row = block_x() / blocks, span = block_x() % blocks * warps + thread_index() / 32;
  if (row >= op.step->counts[op.space] * op.rows_each || span >= spans) return;
  SpanColumns<32> columns;
  columns.load(op.input + row * op.input_stride, span, op.width);
  put_codes(op.output, row, spans, span, columns);
}

// Grid: parts of a row's columns; rows. Keys are zero before.
KERNEL(largest_of_rows, cu_largest, cu_threads) {
  const float *row = op.rows + block_y() * op.stride;
  const int begin = block_x() * cu_largest_columns;
  const int end = begin + cu_largest_columns < op.width ? begin + cu_largest_columns : op.width;
  uint64_t key = 0;
  for (int column = begin + thread_index(); column < end; column += cu_threads) {
    const bool is_finite = (bits_of(row[column]) & 0x7f800000u) != 0x7f800000u;
    const uint64_t candidate = is_finite
      ? (uint64_t)ordered_bits(row[column]) << 32 | (0xffffffffu - (uint32_t)column)
      : ~(uint64_t)0;
    if (candidate > key) key = candidate;
  }
  key = largest_of_warp(key);
  if (thread_index() % 32 == 0) raise(op.keys + block_y(), key);
  hand_over(op.drawn);
}
