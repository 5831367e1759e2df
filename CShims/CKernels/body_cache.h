// SPDX-License-Identifier: Apache-2.0
// Words of a cache as vectors of floats.
#pragma once
#include "vector.h"

INLINE v16u load_words(const uint32_t *p) {
  v16u v;
  memcpy(&v, p, sizeof v);
  return v;
}

/// The elements of 16 words: of f32 one vector, of bf16 those of the low and of the high halves.
INLINE void load_elements(const int is_bf16, const uint32_t *p, v16f *low, v16f *high) {
  const v16u words = load_words(p);
  *low = is_bf16 ? (v16f)(words << 16) : (v16f)words;
  *high = is_bf16 ? (v16f)(words & 0xFFFF0000u) : *low;
}

/// 32 elements of a row: of f32 in order; of bf16 first those with even, then those with odd
/// numbers.
INLINE void load_pair(const int is_bf16, const uint32_t *p, v16f *first, v16f *second) {
  load_elements(is_bf16, p, first, second);
  if (!is_bf16) *second = (v16f)load_words(p + 16);
}

/// From the order of `load_pair` to that of elements.
INLINE void order_pair(const int is_bf16, v16f first, v16f second, v16f *low, v16f *high) {
  *low = !is_bf16 ? first : __builtin_shufflevector(
      first, second, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  *high = !is_bf16 ? second : __builtin_shufflevector(
      first, second, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

/// Swaps what lies off the diagonal of blocks of 2 × 2 parts that are `step` rows and lanes wide.
#define SWAP_BLOCKS(rows, step, first, second)                             \
  for (int i = 0; i < 16; i++)                                             \
    if (!(i & (step))) {                                                   \
      const v16u a = rows[i], b = rows[i | (step)];                        \
      rows[i] = __builtin_shufflevector(a, b, first);                      \
      rows[i | (step)] = __builtin_shufflevector(a, b, second);            \
    }

// Lanes of `a` are 0 … 15, those of `b` 16 … 31.
#define FIRST_1 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30
#define SECOND_1 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31
#define FIRST_2 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define SECOND_2 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define FIRST_4 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define SECOND_4 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#define FIRST_8 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define SECOND_8 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31

/// 16 rows of 16 words, behind each other, to 16 columns, `stride` words apart.
INLINE void transpose(const uint32_t *in, uint32_t *out, int64_t stride) {
  v16u rows[16];
#pragma clang loop unroll(full)
  for (int i = 0; i < 16; i++) rows[i] = load_words(in + i * 16);
#pragma clang loop unroll(full)
  SWAP_BLOCKS(rows, 1, FIRST_1, SECOND_1)
#pragma clang loop unroll(full)
  SWAP_BLOCKS(rows, 2, FIRST_2, SECOND_2)
#pragma clang loop unroll(full)
  SWAP_BLOCKS(rows, 4, FIRST_4, SECOND_4)
#pragma clang loop unroll(full)
  SWAP_BLOCKS(rows, 8, FIRST_8, SECOND_8)
#pragma clang loop unroll(full)
  for (int i = 0; i < 16; i++) memcpy(out + i * stride, &rows[i], sizeof rows[i]);
}
