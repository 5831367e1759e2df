// SPDX-License-Identifier: Apache-2.0
// Rows of codes of 8 bits, for products that multiply codes with codes.
//
//   code[n][k] = nearest (of two the even) to x[n][k] · (127 / largest),   scale = largest / 127
//
// of each 128 columns of a row, `largest` being their largest magnitude: what a CPU makes of them.
// Where that is below the normal range the codes and the scale are 0; where one is no finite number
// the scale is none either.
//
// Layout. A coded row has 128 bytes for each span, then for each span a float, in whole fours. Of a
// span, the columns that lane 4g + t of a warp multiplies are 32 bytes together: word 8t + 2u + h
// has columns 32u + 16h + 4t to 32u + 16h + 4t + 3.
//
// Numbers. Sums of codes are integers and exact, at most 2^21; one of a span is multiplied with the
// scale of its input, then with that of its weight as it is added: the same in every kernel.
#pragma once
#include "device.h"

DEVICE const float *scales_of_row(const uint8_t *row, int spans) {
  return (const float *)(row + (int64_t)spans * cu_span);
}

/// Four neighbouring columns of a span for each lane of a warp, zeros beyond the last. All call it.
DEVICE void put_codes(uint8_t *row, int spans, int span, const Float4 &x) {
  const float values[4] = {x.x, x.y, x.z, x.w};
  uint32_t bits = 0;
  // As bits, magnitudes are in order, NaN and infinity above all.
  UNROLL for (int i = 0; i < 4; i++) {
    const uint32_t magnitude = bits_of(values[i]) & 0x7fffffffu;
    bits = magnitude > bits ? magnitude : bits;
  }
  bits = largest_of_warp(bits);
  const float largest = float_of(bits);
  const bool is_finite = bits < 0x7f800000u, is_usable = is_finite && largest > 127 * 0x1p-126f;
  const float inverse = is_usable ? 127 / largest : 0;
  uint32_t word = 0;
  UNROLL for (int i = 0; i < 4; i++) {
    const int code = is_usable ? (int)rintf(values[i] * inverse) : 0;
    word |= ((uint32_t)code & 0xff) << (8 * i);
  }
  const int lane = thread_index() % 32;
  ((uint32_t *)row)[span * 32 + lane % 4 * 8 + lane / 8 * 2 + lane / 4 % 2] = word;
  if (lane > 0) return;
  const float scale = is_usable ? largest / 127 : 0;
  ((float *)scales_of_row(row, spans))[span] = is_finite ? scale : float_of(0x7fc00000u);
}

/// An integer of less than 2^22 as a float, by an addition of integers and one of floats: faster
/// than a conversion.
DEVICE float exact_float(int32_t value) {
  return add_apart(float_of((uint32_t)value + 0x4b400000u), -12582912.f);
}

/// Adds a span's sums of codes: of the lane's rows g and g + 8, whose scales are `low` and `high`,
/// with two tokens, whose scales are `inputs`.
DEVICE void add_codes(float low, float high, const Float2 &inputs, const int32_t *part,
                      float *sum) {
  UNROLL for (int i = 0; i < 4; i++) {
    const float scaled = exact_float(part[i]) * (i % 2 == 0 ? inputs.x : inputs.y);
    sum[i] = fmaf(i < 2 ? low : high, scaled, sum[i]);
  }
}
