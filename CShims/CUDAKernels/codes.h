// SPDX-License-Identifier: Apache-2.0
// A packed weight's codes (the layout is in `product.h`) to bfloat16, a fragment at a time; codes
// in FP8 of floats.
#pragma once
#include "device.h"

/// e4m3 to nearest even: 3 bits of mantissa, the smallest step 2^-9, at most 448.
DEVICE uint8_t e4m3(float x) {
  const uint32_t sign = bits_of(x) >> 24 & 0x80;
  const float magnitude = fminf(fabsf(x), 448.f);
  if (magnitude < 0.015625f) return (uint8_t)(sign | (uint32_t)rintf(magnitude * 512.f));
  const uint32_t bits = bits_of(magnitude);
  const uint32_t rounded = bits + 0x7ffff + (bits >> 20 & 1);
  return (uint8_t)(sign | ((rounded >> 20) - (120 << 3)));
}

/// What a format does to a lane's 16 bytes: `fragments` of them, of `columns` columns together.
template <int format> struct Codes;

template <> struct Codes<cu_format_bf16> {
  static constexpr int fragments = 1;
  DEVICE void fragment(const Words4 &words, int, uint32_t (&a)[4]) {
    a[0] = words.x, a[1] = words.y, a[2] = words.z, a[3] = words.w;
  }
};

/// Two of four neighbouring columns, in order, and masks of four bits that say which.
template <> struct Codes<cu_format_sparse> {
  static constexpr int fragments = 2;
  /// The columns' elements, those zero that the mask leaves out.
  DEVICE void columns(uint32_t two, uint32_t mask, uint32_t &low, uint32_t &high) {
    const uint32_t first = two & 0xffffu, second = two & 0xffff0000u;
    low = (mask & 1 ? first : 0) | (mask & 2 ? (mask & 1 ? second : two << 16) : 0);
    high = (mask & 4 ? (mask & 3 ? two >> 16 : first) : 0) | (mask & 8 ? second : 0);
  }
  DEVICE void fragment(const Words4 &words, int index, const uint32_t (&masks)[2],
                       uint32_t (&a)[4]) {
    columns(index == 0 ? words.x : words.z, masks[0], a[0], a[2]);
    columns(index == 0 ? words.y : words.w, masks[1], a[1], a[3]);
  }
};

/// Of codes of 8 bits, a fragment takes two words: 4 columns of row g, 4 of row g + 8.
DEVICE void words_of_fragment(const Words4 &words, int index, uint32_t (&two)[2]) {
  two[0] = index == 0 ? words.x : words.z, two[1] = index == 0 ? words.y : words.w;
}

template <> struct Codes<cu_format_fp8> {
  static constexpr int fragments = 2;
  /// Times 2^120, the difference of the exponents' biases: exact for subnormal codes too.
  DEVICE uint32_t value(uint32_t moved) {
    return bf16_multiply_add(moved, 0x7b807b80u, 0x80008000u);
  }
  /// Of a word, columns 0 and 1 are where bfloat16 needs their bits, one in each half, and 2 and 3
  /// where those leave room. Of 0 and 1: sign in bit 15, exponent and mantissa in bits 4 to 10. Of
  /// 2 and 3: sign in bit 11, the exponent's upper three bits in 12 to 14, what is left in 0 to 3.
  DEVICE uint32_t first_pair(uint32_t word) { return value(word & 0x87f087f0u); }
  DEVICE uint32_t second_pair(uint32_t word) {
    return value(((word << 4) & 0x80f080f0u) | ((word >> 4) & 0x07000700u));
  }
  DEVICE void fragment(const Words4 &words, int index, uint32_t (&a)[4]) {
    uint32_t two[2];
    words_of_fragment(words, index, two);
    UNROLL for (int i = 0; i < 2; i++) {
      a[i] = first_pair(two[i]);
      a[2 + i] = second_pair(two[i]);
    }
  }
  /// As `fragment` finds them, of four neighbouring columns.
  DEVICE uint32_t word(const uint8_t (&codes)[4]) {
    uint32_t word = 0;
    for (int i = 0; i < 2; i++) {
      const uint32_t a = codes[i], b = codes[2 + i];
      word |= ((a & 0x80) << 8 | (a & 0x7f) << 4 | (b & 0x80) << 4 | (b & 0x70) << 8 | (b & 0x0f))
        << (16 * i);
    }
    return word;
  }
};

/// Codes of 8 bits with a sign.
struct Codes8 {
  static constexpr int fragments = 2;
  /// 128 + the low 7 bits, minus 128 or (with a sign) 256: exact in bfloat16.
  DEVICE uint32_t pair(uint32_t four, uint32_t selector) {
    const uint32_t bytes = permute(four, 0, selector);
    const uint32_t low = (bytes & 0x007f007fu) | 0x43004300u;
    const uint32_t sign = (bytes & 0x00800080u) | 0x43004300u;
    return bf16_multiply_add(sign, 0xbf80bf80u, low);
  }
  /// Of a word, a byte a column.
  DEVICE void fragment(const Words4 &words, int index, uint32_t (&a)[4]) {
    uint32_t two[2];
    words_of_fragment(words, index, two);
    UNROLL for (int i = 0; i < 2; i++) {
      a[i] = pair(two[i], 0x4140);
      a[2 + i] = pair(two[i], 0x4342);
    }
  }
  DEVICE uint32_t word(const uint8_t (&codes)[4]) {
    uint32_t word = 0;
    for (int i = 0; i < 4; i++) word |= (uint32_t)codes[i] << (8 * i);
    return word;
  }
  /// Of the bytes of two rows' zeros, one in both halves; as a code, 128 less than it is.
  DEVICE uint32_t zero(uint32_t two, int row) { return pair(two, row == 0 ? 0x4040 : 0x4141); }
  /// Less a zero for each row: 8 bits and a sign, so exact in bfloat16.
  DEVICE void fragment(const Words4 &words, int index, const uint32_t (&zeros)[2],
                       uint32_t (&a)[4]) {
    fragment(words, index, a);
    UNROLL for (int i = 0; i < 4; i++) a[i] = bf16_multiply_add(zeros[i % 2], 0xbf80bf80u, a[i]);
  }
};

/// Codes of 4 bits without a sign.
struct Codes4 {
  static constexpr int fragments = 4;
  /// Of the bytes of two rows' zeros, 128 more than one in both halves.
  DEVICE uint32_t zero(uint32_t two, int row) {
    return permute(two, 0x43, row == 0 ? 0x4040 : 0x4141);
  }
  /// 128 + code, minus 128 + zero of the row.
  DEVICE void fragment(const Words4 &words, int index, const uint32_t (&zeros)[2],
                       uint32_t (&a)[4]) {
    const uint32_t codes =
      index == 0 ? words.x : index == 1 ? words.y : index == 2 ? words.z : words.w;
    UNROLL for (int i = 0; i < 4; i++) {
      const uint32_t biased = ((codes >> (4 * i)) & 0x000f000fu) | 0x43004300u;
      a[i] = bf16_multiply_add(zeros[i % 2], 0xbf80bf80u, biased);
    }
  }
};

/// As they are stored, a byte a column.
template <> struct Codes<cu_format_fp8a8> {
  static constexpr int fragments = 2;
  DEVICE uint32_t word(const uint8_t (&codes)[4]) { return Codes8::word(codes); }
};

template <> struct Codes<cu_format_w8> : Codes8 {};
template <> struct Codes<cu_format_w8a8> : Codes8 {};

template <> struct Codes<cu_format_w4> : Codes4 {
  /// Every zero is 8.
  DEVICE void fragment(const Words4 &words, int index, uint32_t (&a)[4]) {
    const uint32_t zeros[2] = {0x43084308u, 0x43084308u};
    Codes4::fragment(words, index, zeros, a);
  }
};

template <> struct Codes<cu_format_int4_32> : Codes4 {};
template <> struct Codes<cu_format_int4_64> : Codes4 {};
template <> struct Codes<cu_format_int4_128> : Codes4 {};
template <> struct Codes<cu_format_int8_32> : Codes8 {};
template <> struct Codes<cu_format_int8_64> : Codes8 {};
template <> struct Codes<cu_format_int8_128> : Codes8 {};
