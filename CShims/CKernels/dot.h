// SPDX-License-Identifier: Apache-2.0
// The integer products of a level: 16 sums of four unsigned bytes (weights) times four signed ones
// (activations). Every level gives the same integers: none saturates.
#pragma once
#include "vector.h"

#if CK_DOT != CK_DOT_PLAIN
#include <immintrin.h>
#endif

typedef uint8_t v64u __attribute__((ext_vector_type(64)));

INLINE v64u load_bytes(const uint8_t *p) {
  v64u v;
  memcpy(&v, p, sizeof v);
  return v;
}

INLINE void store_bytes(uint8_t *p, v64u v) { memcpy(p, &v, sizeof v); }

INLINE v64u low_nibbles(v64u v) { return v & 0x0F; }

INLINE v64u high_nibbles(v64u v) { return (v64u)((v16u)v >> 4) & 0x0F; }

INLINE v16i load_code_zeros(const uint8_t *p) {
  typedef uint8_t v16b __attribute__((ext_vector_type(16)));
  v16b zeros;
  memcpy(&zeros, p, sizeof zeros);
  return __builtin_convertvector(zeros, v16i);
}

INLINE void store_codes(int8_t *p, v16i codes) {
  typedef int8_t v16c __attribute__((ext_vector_type(16)));
  const v16c bytes = __builtin_convertvector(codes, v16c);
  memcpy(p, &bytes, sizeof bytes);
}

INLINE int32_t sum_lanes(v16i v) {
  int32_t sum = 0;
#pragma clang loop unroll(full)
  for (int i = 0; i < 16; i++) sum += v[i];
  return sum;
}

#if CK_DOT == CK_DOT_VNNI || CK_DOT == CK_DOT_VNNI_256

typedef v64u weight_words;
typedef v16i code_words;

INLINE weight_words prepare_weights(v64u w) { return w; }
INLINE code_words prepare_codes(int32_t word) { return (v16i)(word); }
INLINE v16i dot4(v16i sums, weight_words w, code_words x) {
#if CK_DOT == CK_DOT_VNNI
  return (v16i)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)w, (__m512i)x);
#else
  typedef int32_t v8i __attribute__((ext_vector_type(8)));
  const v8i low =
      (v8i)_mm256_dpbusd_avx_epi32((__m256i)sums.lo, (__m256i)w.lo, (__m256i)x.lo);
  const v8i high =
      (v8i)_mm256_dpbusd_avx_epi32((__m256i)sums.hi, (__m256i)w.hi, (__m256i)x.hi);
  return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#endif
}

#else

// Bytes 0 and 2 of each four, and bytes 1 and 3, as 16-bit integers.
typedef int16_t v32s __attribute__((ext_vector_type(32)));
typedef uint16_t v32w __attribute__((ext_vector_type(32)));
typedef struct {
  v32s even, odd;
} weight_words;
typedef struct {
  v32s even, odd;
} code_words;

INLINE weight_words prepare_weights(v64u w) {
  return (weight_words){(v32s)((v32w)w & 0x00FF), (v32s)((v32w)w >> 8)};
}

INLINE code_words prepare_codes(int32_t word) {
  const v32s x = (v32s)(v16i)(word);
  return (code_words){(v32s)((v32w)x << 8) >> 8, x >> 8};
}

/// Sums of neighbouring products, in 32 bits.
INLINE v16i multiply_pairs(v32s w, v32s x) {
#if CK_DOT == CK_DOT_PAIRS_512
  return (v16i)_mm512_madd_epi16((__m512i)w, (__m512i)x);
#elif CK_DOT == CK_DOT_PAIRS_256
  const __m256i low = _mm256_madd_epi16((__m256i)w.lo, (__m256i)x.lo);
  const __m256i high = _mm256_madd_epi16((__m256i)w.hi, (__m256i)x.hi);
  typedef int32_t v8i __attribute__((ext_vector_type(8)));
  return (v16i)__builtin_shufflevector(
      (v8i)low, (v8i)high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#else
  const v16i a = (v16i)w, b = (v16i)x;
  return (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16);
#endif
}

INLINE v16i dot4(v16i sums, weight_words w, code_words x) {
  return sums + multiply_pairs(w.even, x.even) + multiply_pairs(w.odd, x.odd);
}

#endif
