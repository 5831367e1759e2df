// SPDX-License-Identifier: Apache-2.0
// Codes, scales and zeros of a calibrated weight, as the checkpoint has them, into the layout of
// `product.h`: once, at load.
//
// Codes and zeros stay what they are; scales become floats, exactly. Groups of more columns than
// the format's are repeated. Rows and columns beyond the weight's are zeros.
#include "pack_words.h"

namespace {

/// The place of an element in its word.
DEVICE int place_in_word(const cu_integers &grid, int element) {
  return (int)(grid.order >> (4 * element) & 15);
}

DEVICE uint8_t integer(const cu_integers &grid, int row, int column) {
  const int within = row % cu_tile_rows;
  const int64_t place = row / cu_tile_rows * grid.tile_stride
    + (within >> grid.row_shift) * grid.row_stride
    + (column >> grid.column_shift) * grid.column_stride
    + place_in_word(grid, within & ((1 << grid.row_shift) - 1))
    + place_in_word(grid, column & ((1 << grid.column_shift) - 1));
  const uint8_t byte = grid.bytes[place / 2];
  const int stored = grid.bits == 8 ? byte : byte >> (place % 2 * 4) & 15;
  return (uint8_t)((stored + grid.bias) & grid.mask);
}

/// The value of an IEEE half, exactly.
DEVICE float float_of_f16(uint16_t bits) {
  const uint32_t magnitude = bits & 0x7fff, sign = (uint32_t)(bits & 0x8000) << 16;
  if (magnitude < 0x400) return float_of(sign | bits_of((float)magnitude * 0x1p-24f));
  const uint32_t bias = magnitude >= 0x7c00 ? 255 - 31 : 127 - 15;
  return float_of(sign | ((magnitude << 13) + (bias << 23)));
}

DEVICE float stored_scale(const cu_stored_scales &scales, int row, int group) {
  const int64_t place = row / cu_tile_rows * scales.tile_stride
    + row % cu_tile_rows * scales.row_stride + group * scales.group_stride;
  if (scales.type == cu_scale_f32) return ((const float *)scales.values)[place];
  const uint16_t bits = ((const uint16_t *)scales.values)[place];
  return scales.type == cu_scale_f16 ? float_of_f16(bits) : float_of_bf16(bits);
}

/// A code or a zero as the format keeps it; see `product.h`.
DEVICE uint8_t kept_integer(const cu_pack_codes &op, uint8_t value) {
  return cu_code_bits((cu_format)op.format) == 8 ? value ^ 0x80 : value;
}

/// A row's scales and zeros of a span.
DEVICE void pack_factors(const cu_pack_codes &op, int row, int span) {
  const cu_format format = (cu_format)op.format;
  const int width = cu_scale_group(format), groups = cu_span / width;
  const int within = row % cu_tile_rows, bytes = cu_span_scale_bytes(format);
  const int64_t index = (int64_t)(row / cu_tile_rows) * (op.padded_columns / cu_span) + span;
  float *scales = (float *)(op.factors + index * bytes);
  uint8_t *zeros = (uint8_t *)(scales + groups * cu_tile_rows);
  for (int i = 0; i < groups; i++) {
    const int column = span * cu_span + i * width, group = column / op.group;
    const bool exists = row < op.rows && column < op.columns;
    float scale = 0;
    uint8_t zero = (uint8_t)(1 << (cu_code_bits(format) - 1));
    if (exists) scale = stored_scale(op.scales, row, group);
    if (exists && op.zeros.bytes) zero = integer(op.zeros, row, group);
    const int place = (within % 8 * groups + i) * 2 + within / 8;
    scales[place] = scale;
    zeros[place] = kept_integer(op, zero);
  }
}

DEVICE uint8_t stored_code(const cu_pack_codes &op, int row, int column) {
  if (row >= op.rows || column >= op.columns) return 0;
  return integer(
    op.integers, row - op.first_tile * cu_tile_rows, column - op.first_span * cu_span);
}

/// Rows `row` and `row + 8`.
DEVICE void pack_integers(const cu_pack_codes &op, int row, int span) {
  for (int column = span * cu_span; column < (span + 1) * cu_span; column += 4) {
    uint32_t word = 0;
    for (int half = 0; half < 2; half++) {
      uint8_t codes[4];
      UNROLL for (int i = 0; i < 4; i++) {
        codes[i] = stored_code(op, row + 8 * half, column + i);
        word |= (uint32_t)codes[i] << shift4(half, i);
        codes[i] = kept_integer(op, codes[i]);
      }
      if (cu_code_bits((cu_format)op.format) == 8) {
        word8(op, row + 8 * half, column) = Codes8::word(codes);
      }
    }
    if (cu_code_bits((cu_format)op.format) == 4) word4(op, row, column) = word;
  }
}

}  // namespace

// Grid: tiles by spans by eight pairs of rows, a thread for each.
KERNEL(pack_codes, cu_pack_codes, cu_threads) {
  const int index = block_x() * cu_threads + thread_index();
  if (index >= op.tiles * op.spans * 8) return;
  const int tile = op.first_tile + index / 8 / op.spans;
  const int row = tile * cu_tile_rows + index % 8, span = op.first_span + index / 8 % op.spans;
  for (int half = 0; half < 2; half++) pack_factors(op, row + 8 * half, span);
  pack_integers(op, row, span);
}
