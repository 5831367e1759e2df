// SPDX-License-Identifier: Apache-2.0
// Rows of codes of 8 bits, for products that multiply codes with codes. Each 128 columns of a row
// share a scale, a float; `largest` is their largest magnitude.
//
//   s8    code[n][k] = nearest (of two the even) to x[n][k] · (127 / largest),
//         scale = largest / 127: what a CPU makes of them in w8. Where `largest` is below the
//         normal range the codes and the scale are 0.
//   e4m3  code[n][k] = e4m3(x[n][k] / scale), to nearest even, at most 448,
//         scale = max(largest, 1e-4) / 448, or the next power of two: what DeepSeek-V3 makes of
//         them, and a CPU in fp8.
//
// Where one of them is no finite number the scale is none either.
//
// Layout. A coded row has 128 bytes for each span, then for each span a float, in whole fours. Of a
// span, e4m3 has a byte a column, in order. Of s8, the columns that lane 4g + t of a warp
// multiplies are 32 bytes together: word 8t + 2u + h has columns 32u + 16h + 4t to
// 32u + 16h + 4t + 3.
//
// Numbers. Sums of codes s8 are integers and exact, at most 2^21. Those of e4m3 are 32-bit floats
// that the tensor cores add up to, 32 columns after 32, always by the same instruction. A sum of a
// span is multiplied with the scale of its input, then with that of its weight as it is added: the
// same in every kernel.
#pragma once
#include "codes.h"

DEVICE const float *scales_of_row(const uint8_t *row, int spans) {
  return (const float *)(row + (int64_t)spans * cu_span);
}

/// Four codes s8, and their scale. `largest` is finite.
DEVICE uint32_t codes_s8(const float (&values)[4], float largest, float &scale) {
  const bool is_usable = largest > 127 * 0x1p-126f;
  const float inverse = is_usable ? 127 / largest : 0;
  scale = is_usable ? largest / 127 : 0;
  uint32_t word = 0;
  UNROLL for (int i = 0; i < 4; i++) {
    const int code = is_usable ? (int)rintf(values[i] * inverse) : 0;
    word |= ((uint32_t)code & 0xff) << (8 * i);
  }
  return word;
}

/// Four codes e4m3.
DEVICE uint32_t codes_e4m3(const float (&values)[4], float largest, bool powers, float &scale) {
  scale = fmaxf(largest, 1e-4f) / 448;
  if (powers) scale = float_of((bits_of(scale) + 0x7fffffu) & 0x7f800000u);
  uint32_t word = 0;
  UNROLL for (int i = 0; i < 4; i++) word |= (uint32_t)e4m3(values[i] / scale) << (8 * i);
  return word;
}

/// Of four columns the largest magnitude: as bits they are in order, NaN and infinity above all.
DEVICE uint32_t largest_bits(const Float4 &x) {
  const float values[4] = {x.x, x.y, x.z, x.w};
  uint32_t bits = 0;
  UNROLL for (int i = 0; i < 4; i++) {
    const uint32_t magnitude = bits_of(values[i]) & 0x7fffffffu;
    bits = magnitude > bits ? magnitude : bits;
  }
  return bits;
}

/// The columns of a span that one of `lanes` neighbouring lanes has: every so-many-th four.
template <int lanes> struct SpanColumns {
  static constexpr int count = cu_span / 4 / lanes;
  Float4 x[count];

  /// Which of the span's fours the lane's are.
  DEVICE_MEMBER static int four(int index) { return index * lanes + thread_index() % lanes; }

  /// Of a row of floats that has room for whole fours; zeros beyond its last column.
  DEVICE_MEMBER void load(const float *row, int span, int width) {
    UNROLL for (int i = 0; i < count; i++) {
      const int column = span * cu_span + four(i) * 4;
      x[i] = {0, 0, 0, 0};
      if (column < width) x[i] = *(const Float4 *)(row + column);
      if (column + 1 >= width) x[i].y = 0;
      if (column + 2 >= width) x[i].z = 0;
      if (column + 3 >= width) x[i].w = 0;
    }
  }

  /// Makes a word of codes of each four, and returns their scale. All lanes of a warp call it.
  DEVICE_MEMBER float make(int code, uint32_t (&words)[count]) const {
    uint32_t bits = 0;
    UNROLL for (int i = 0; i < count; i++) {
      const uint32_t of_four = largest_bits(x[i]);
      bits = of_four > bits ? of_four : bits;
    }
    bits = largest_of_lanes(bits);
    const bool is_finite = bits < 0x7f800000u, powers = code == cu_code_e4m3_powers;
    const float largest = is_finite ? float_of(bits) : 0.f;
    float scale = 0;
    UNROLL for (int i = 0; i < count; i++) {
      const float values[4] = {x[i].x, x[i].y, x[i].z, x[i].w};
      if (code == cu_code_s8) words[i] = codes_s8(values, largest, scale);
      else words[i] = codes_e4m3(values, largest, powers, scale);
    }
    return is_finite ? scale : float_of(0x7fc00000u);
  }

private:
  DEVICE_MEMBER static uint32_t largest_of_lanes(uint32_t bits) {
    if constexpr (lanes == 32) {
      bits = largest_of_warp(bits);
    } else {
      UNROLL for (int mask = lanes / 2; mask > 0; mask /= 2) {
        const uint32_t other = (uint32_t)shuffle_xor((int)bits, mask);
        bits = other > bits ? other : bits;
      }
    }
    return bits;
  }
};

/// Where a four's word of codes is among those of its span.
DEVICE int word_of_four(int code, int four) {
  return code == cu_code_s8 ? four % 4 * 8 + four / 8 * 2 + four / 4 % 2 : four;
}

/// Writes the codes of a span, of which each lane of a warp has a four. All call it.
DEVICE void put_codes(const cu_codes &codes, int64_t row, int spans, int span,
                      const SpanColumns<32> &columns) {
  const int lane = thread_index() % 32;
  uint8_t *place = codes.rows + row * codes.stride;
  uint32_t word[1];
  const float scale = columns.make(codes.code, word);
  ((uint32_t *)place)[span * 32 + word_of_four(codes.code, lane)] = word[0];
  if (lane == 0) ((float *)scales_of_row(place, spans))[span] = scale;
}

/// An integer of less than 2^22 as a float, by an addition of integers and one of floats: faster
/// than a conversion.
DEVICE float exact_float(int32_t value) {
  return add_apart(float_of((uint32_t)value + 0x4b400000u), -12582912.f);
}
DEVICE float exact_float(float value) { return value; }

/// Adds a span's sums of codes: of the lane's rows g and g + 8, whose scales are `low` and `high`,
/// with two tokens, whose scales are `inputs`.
template <typename Part>
DEVICE void add_codes(float low, float high, const Float2 &inputs, const Part *part, float *sum) {
  UNROLL for (int i = 0; i < 4; i++) {
    const float scaled = exact_float(part[i]) * (i % 2 == 0 ? inputs.x : inputs.y);
    sum[i] = fmaf(i < 2 ? low : high, scaled, sum[i]);
  }
}
