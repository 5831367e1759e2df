// SPDX-License-Identifier: Apache-2.0
// Products of bfloat16: 16 sums of two products each, of words that have two numbers, the first in
// the low half. Sums are f32: the second product is added, then the first, each rounded to nearest
// even; numbers below the normal range count as 0 (VDPBF16PS, Intel SDM volume 2).
#pragma once
#include "vector.h"

#if CK_BF16_PAIRS
#include <immintrin.h>

INLINE v16f dot2(v16f sums, v16u a, v16u b) {
  return (v16f)_mm512_dpbf16_ps((__m512)sums, (__m512bh)a, (__m512bh)b);
}

INLINE v16u splat_pair(uint32_t pair) { return (v16u)(pair); }

/// Rounds `count` numbers to nearest even.
INLINE void round_each(const float *in, uint16_t *out, int64_t count) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const v16h halves = (v16h)_mm512_cvtneps_pbh((__m512)load(in + i));
    memcpy(out + i, &halves, sizeof halves);
  }
  if (i == count) return;
  const v16h halves = (v16h)_mm512_cvtneps_pbh((__m512)load_some(in + i, count - i));
  memcpy(out + i, &halves, (size_t)(count - i) * sizeof(uint16_t));
}

/// The same, with a 0 behind an odd number of them.
INLINE void round_pairs(const float *in, uint16_t *out, int64_t count) {
  round_each(in, out, count);
  if (count % 2 != 0) out[count] = 0;
}

/// Words of two rows' numbers, of one column each, from rows of 16 that lie behind each other.
INLINE v16u pair_rows(const uint16_t *rows) {
  typedef uint16_t v32h __attribute__((ext_vector_type(32)));
  v32h both;
  memcpy(&both, rows, sizeof both);
  return (v16u)__builtin_shufflevector(
      both, both, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26,
      11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

/// The same where there is no second row: its numbers are 0.
INLINE v16u pair_with_none(const uint16_t *row) {
  v16h first;
  memcpy(&first, row, sizeof first);
  return __builtin_convertvector(first, v16u);
}
#endif
