// SPDX-License-Identifier: Apache-2.0
// A packed weight's codes (the layout is in `product.h`) to bfloat16, a fragment at a time.
#pragma once
#include "device.h"

/// What a format does to a lane's 16 bytes: `fragments` of them, of `columns` columns together.
template <int format> struct Codes;

template <> struct Codes<cu_format_bf16> {
  static constexpr int fragments = 1;
  DEVICE void fragment(const Words4 &words, int, uint32_t (&a)[4]) {
    a[0] = words.x, a[1] = words.y, a[2] = words.z, a[3] = words.w;
  }
};

template <> struct Codes<cu_format_fp8> {
  static constexpr int fragments = 2;
  /// Sign, exponent and mantissa moved to their places in bfloat16; times 2^120, the difference of
  /// the exponents' biases, exact for subnormal codes too.
  DEVICE uint32_t pair(uint32_t four, uint32_t selector) {
    const uint32_t high = permute(four, 0, selector);
    const uint32_t moved = (high & 0x80008000u) | ((high >> 4) & 0x07f007f0u);
    return bf16_multiply_add(moved, 0x7b807b80u, 0x80008000u);
  }
  DEVICE void fragment(const Words4 &words, int index, uint32_t (&a)[4]) {
    const uint32_t low = index == 0 ? words.x : words.z, high = index == 0 ? words.y : words.w;
    a[0] = pair(low, 0x1404), a[1] = pair(high, 0x1404);
    a[2] = pair(low, 0x3424), a[3] = pair(high, 0x3424);
  }
};

template <> struct Codes<cu_format_w8> {
  static constexpr int fragments = 2;
  /// 128 + the low 7 bits, minus 128 or (with a sign) 256: exact in bfloat16.
  DEVICE uint32_t pair(uint32_t four, uint32_t selector) {
    const uint32_t bytes = permute(four, 0, selector);
    const uint32_t low = (bytes & 0x007f007fu) | 0x43004300u;
    const uint32_t sign = (bytes & 0x00800080u) | 0x43004300u;
    return bf16_multiply_add(sign, 0xbf80bf80u, low);
  }
  DEVICE void fragment(const Words4 &words, int index, uint32_t (&a)[4]) {
    const uint32_t low = index == 0 ? words.x : words.z, high = index == 0 ? words.y : words.w;
    a[0] = pair(low, 0x4140), a[1] = pair(high, 0x4140);
    a[2] = pair(low, 0x4342), a[3] = pair(high, 0x4342);
  }
};

template <> struct Codes<cu_format_w4> {
  static constexpr int fragments = 4;
  /// 128 + (code + 8), minus 136.
  DEVICE void fragment(const Words4 &words, int index, uint32_t (&a)[4]) {
    const uint32_t codes =
      index == 0 ? words.x : index == 1 ? words.y : index == 2 ? words.z : words.w;
    UNROLL for (int i = 0; i < 4; i++) {
      const uint32_t biased = ((codes >> (4 * i)) & 0x000f000fu) | 0x43004300u;
      a[i] = bf16_multiply_add(0x43084308u, 0xbf80bf80u, biased);
    }
  }
};
