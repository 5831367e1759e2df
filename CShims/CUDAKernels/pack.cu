// SPDX-License-Identifier: Apache-2.0
// A weight's elements, as floats, into the layout of `product.h`: once, at load.
//
//   bf16  to nearest even.
//   fp8, fp8a8  code = e4m3(x / scale), to nearest even, at most 448. With `block_scales` the scale
//         is the stored one, and codes come back as they were stored; else it is the largest
//         magnitude of 128 × 128 elements / 448 (`pack_block_scales` makes it first).
//   w8    scale = bfloat16(largest magnitude of the group / 127), code = nearest in -127 ... 127.
//   w4    scale = bfloat16(value of largest magnitude / -8), code = nearest in -8 ... 7.
//   sparse  bf16 of the two of four neighbouring columns with the largest magnitudes, of equal ones
//         the first: what has two zeros of four loses nothing.
// Rows and columns beyond the weight's are zeros.
#include "pack_words.h"

namespace {

DEVICE float element(const cu_pack &op, int row, int column) {
  if (row >= op.rows || column >= op.columns) return 0;
  return op.source[row * op.row_stride + column * op.column_stride];
}

DEVICE void pack_bf16(const cu_pack &op, int row, int local, int span) {
  uint16_t *codes = (uint16_t *)op.codes;
  const int within = row % cu_tile_rows;
  for (int column = span * cu_span; column < (span + 1) * cu_span; column++) {
    const int lane = within % 8 * 4 + column % 16 / 4;
    const int64_t unit = (int64_t)(row / cu_tile_rows) * (op.padded_columns / 16) + column / 16;
    const int place = column % 4 / 2 * 4 + within / 8 * 2 + column % 2;
    codes[unit * 256 + lane * 8 + place] = bf16_bits(element(op, local, column));
  }
}

/// The two of four elements that are kept, in order, and a bit for each of them.
DEVICE uint32_t kept_pair(const float (&x)[4], uint32_t &mask) {
  int first = 0, second = -1;
  for (int i = 1; i < 4; i++) if (fabsf(x[i]) > fabsf(x[first])) first = i;
  for (int i = 0; i < 4; i++) {
    if (i != first && (second < 0 || fabsf(x[i]) > fabsf(x[second]))) second = i;
  }
  mask = 1u << first | 1u << second;
  const int low = first < second ? first : second, high = first < second ? second : first;
  return bf16_pair(x[low], x[high]);
}

/// A lane has the same four of 16 columns of each fragment.
DEVICE void pack_sparse(const cu_pack &op, int row, int local, int span) {
  const int within = row % cu_tile_rows, half = within / 8;
  const int64_t place = (int64_t)(row / cu_tile_rows) * (op.padded_columns / cu_span) + span;
  for (int t = 0; t < 4; t++) {
    const int lane = within % 8 * 4 + t;
    uint32_t masks = 0;
    for (int f = 0; f < cu_span / 16; f++) {
      float x[4];
      UNROLL for (int i = 0; i < 4; i++) {
        x[i] = element(op, local, span * cu_span + f * 16 + 4 * t + i);
      }
      uint32_t mask;
      const uint32_t two = kept_pair(x, mask);
      masks |= mask << (4 * f);
      ((uint32_t *)op.codes)[((place * 4 + f / 2) * 32 + lane) * 4 + f % 2 * 2 + half] = two;
    }
    ((uint32_t *)op.scales)[(place * 32 + lane) * 2 + half] = masks;
  }
}

DEVICE float block_scale(const cu_pack &op, int row, int column) {
  return op.block_scales[row / op.block_rows * op.blocks_per_row + column / op.block_columns];
}

template <int format> DEVICE void pack_fp8(const cu_pack &op, int row, int local, int span) {
  const bool exists = local < op.rows && span * cu_span < op.columns;
  const float scale = exists ? block_scale(op, row, span * cu_span) : 0.f;
  for (int column = span * cu_span; column < (span + 1) * cu_span; column += 4) {
    uint8_t codes[4];
    UNROLL for (int i = 0; i < 4; i++) {
      const float x = element(op, local, column + i);
      codes[i] = e4m3(scale == 0 ? 0.f : x / scale);
    }
    word8(op, row, column) = Codes<format>::word(codes);
  }
  if (row % cu_tile_rows == 0) {
    const int spans = op.padded_columns / cu_span;
    ((float *)op.scales)[row / cu_tile_rows * spans + span] = scale;
  }
}

/// The scale of a group, as it is kept.
DEVICE uint16_t group_scale(const cu_pack &op, int row, int local, int group, float divisor) {
  float extreme = 0;
  for (int column = group * op.group; column < (group + 1) * op.group; column++) {
    const float x = element(op, local, column);
    if (fabsf(x) > fabsf(extreme)) extreme = x;
  }
  const uint16_t scale = bf16_bits((divisor > 0 ? fabsf(extreme) : extreme) / divisor);
  const int groups = op.padded_columns / op.group;
  ((uint16_t *)op.scales)[((int64_t)(row / cu_tile_rows) * groups + group) * cu_tile_rows
                          + row % cu_tile_rows] = scale;
  return scale;
}

DEVICE int code(float x, uint16_t scale, float low, float high) {
  const float divisor = float_of_bf16(scale);
  if (divisor == 0) return 0;
  return (int)fminf(fmaxf(rintf(x / divisor), low), high);
}

DEVICE void pack_w8(const cu_pack &op, int row, int local, int span) {
  const uint16_t scale = group_scale(op, row, local, span, 127);
  for (int column = span * cu_span; column < (span + 1) * cu_span; column += 4) {
    uint8_t codes[4];
    UNROLL for (int i = 0; i < 4; i++) {
      codes[i] = (uint8_t)code(element(op, local, column + i), scale, -127, 127);
    }
    word8(op, row, column) = Codes<cu_format_w8>::word(codes);
  }
}

/// Rows `row` of even fragments share no byte with others: a thread's nibbles of a lane are those
/// of registers 0 and 2 (row g) or 1 and 3 (row g + 8), so two threads write each byte. The thread
/// of row g writes both.
DEVICE void pack_w4(const cu_pack &op, int row, int local, int span) {
  const int groups = cu_span / op.group;
  uint16_t scales[2][cu_span / 32];
  for (int half = 0; half < 2; half++) {
    for (int g = 0; g < groups; g++) {
      scales[half][g] = group_scale(op, row + 8 * half, local + 8 * half, span * groups + g, -8);
    }
  }
  for (int column = span * cu_span; column < (span + 1) * cu_span; column += 4) {
    uint32_t word = 0;
    for (int i = 0; i < 8; i++) {
      const int half = i / 4, kk = i % 4;
      const float x = element(op, local + 8 * half, column + kk);
      const uint16_t scale = scales[half][column % cu_span / op.group];
      word |= (uint32_t)(code(x, scale, -8, 7) + 8) << shift4(half, kk);
    }
    word4(op, row, column) = word;
  }
}

}  // namespace

// Grid: rows of whole tiles by spans, a thread for each; `x` covers rows times spans.
KERNEL(pack, cu_pack, cu_threads) {
  const int spans = op.padded_columns / cu_span;
  const int index = block_x() * cu_threads + thread_index();
  const int local = index / spans, span = index % spans;
  const int rows = (op.rows + cu_tile_rows - 1) / cu_tile_rows * cu_tile_rows;
  if (local >= rows) return;
  const int row = op.first_row + local;
  switch (op.format) {
  case cu_format_bf16: pack_bf16(op, row, local, span); break;
  case cu_format_fp8: pack_fp8<cu_format_fp8>(op, row, local, span); break;
  case cu_format_fp8a8: pack_fp8<cu_format_fp8a8>(op, row, local, span); break;
  case cu_format_sparse: pack_sparse(op, row, local, span); break;
  case cu_format_w8: case cu_format_w8a8: pack_w8(op, row, local, span); break;
  case cu_format_w4:
    if (row % cu_tile_rows < 8) pack_w4(op, row, local, span);
    break;
  }
}

// Scales of 128 × 128 blocks, into `scales`: `[ceil(rows / 128), blocks_per_row]`. Grid: blocks of
// a row, rows of blocks. `first_row` is a multiple of 128.
KERNEL(pack_block_scales, cu_pack, cu_threads) {
  SHARED float scratch[cu_threads / 32];
  float largest = 0;
  for (int index = thread_index(); index < 128 * 128; index += cu_threads) {
    const int row = block_y() * 128 + index / 128, column = block_x() * 128 + index % 128;
    largest = fmaxf(largest, fabsf(element(op, row, column)));
  }
  largest = largest_of_warp(largest);
  if (thread_index() % 32 == 0) scratch[thread_index() / 32] = largest;
  sync_block();
  if (thread_index() != 0) return;
  for (int warp = 0; warp < cu_threads / 32; warp++) largest = fmaxf(largest, scratch[warp]);
  const int block_row = op.first_row / 128 + block_y();
  ((float *)op.scales)[block_row * op.blocks_per_row + block_x()] = largest / 448.f;
}

// Grid: elements, a thread for each.
KERNEL(narrow, cu_narrow, cu_threads) {
  const int64_t index = (int64_t)block_x() * cu_threads + thread_index();
  if (index < op.count) op.destination[index] = bf16_bits(op.source[index]);
}
