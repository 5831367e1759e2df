// SPDX-License-Identifier: Apache-2.0
// Keys and values in FP8, both ways; `cache_layout.h` has the rules.
#pragma once
#include "cache.h"
#include "codes.h"

/// The scale of values of which the largest magnitude has these bits.
DEVICE float cache_scale(uint32_t largest) {
  constexpr int least = 10;  // 2^-117: its smallest code is the smallest normal bfloat16
  if (largest >= 0x7f800000u) return float_of(0x7fc00000u);
  // 448 is 1.75 · 2^8.
  const int exponent = (int)((largest + 0x1fffffu) >> 23) - 8;
  return float_of((uint32_t)(exponent < least ? least : exponent) << 23);
}

/// Eight neighbouring columns as bfloat16.
DEVICE Words4 cached_values(const Words2 &codes, float scale) {
  using FP8 = Codes<cu_format_fp8>;
  const uint32_t factor = bf16_pair(scale, scale);
  const uint32_t pairs[4] = {FP8::first_pair(codes.x), FP8::second_pair(codes.x),
                             FP8::first_pair(codes.y), FP8::second_pair(codes.y)};
  Words4 scaled;
  scaled.x = bf16_multiply_add(pairs[0], factor, 0x80008000u);
  scaled.y = bf16_multiply_add(pairs[1], factor, 0x80008000u);
  scaled.z = bf16_multiply_add(pairs[2], factor, 0x80008000u);
  scaled.w = bf16_multiply_add(pairs[3], factor, 0x80008000u);
  return scaled;
}
