// SPDX-License-Identifier: Apache-2.0
// Vectors of 16 floats in clang's vector extensions: the compiler maps them to the registers of the
// level that includes this file. Unaligned loads and stores cost nothing extra where data is
// aligned. No operation here depends on other lanes but `sum` and `largest`.
#pragma once
#include <stdint.h>
#include <string.h>

// Vectors are passed between inlined functions only: no calling convention is involved.
#pragma clang diagnostic ignored "-Wpsabi"

// Whether a level multiplies bf16 with bf16; see pairs.h.
#ifndef CK_BF16_PAIRS
#define CK_BF16_PAIRS 0
#endif

// How a level multiplies bytes; see dot.h.
#define CK_DOT_PLAIN 0
#define CK_DOT_PAIRS_256 1
#define CK_DOT_PAIRS_512 2
#define CK_DOT_VNNI 3
#define CK_DOT_VNNI_256 4

#define INLINE static inline __attribute__((always_inline))

typedef float v16f __attribute__((ext_vector_type(16)));
typedef float v8f __attribute__((ext_vector_type(8)));
typedef float v4f __attribute__((ext_vector_type(4)));
typedef int32_t v16i __attribute__((ext_vector_type(16)));
typedef uint32_t v16u __attribute__((ext_vector_type(16)));
typedef uint16_t v16h __attribute__((ext_vector_type(16)));

INLINE v16f load(const float *p) {
  v16f v;
  memcpy(&v, p, sizeof v);
  return v;
}

INLINE void store(float *p, v16f v) { memcpy(p, &v, sizeof v); }

/// The first `count` floats, at most 16, and zeros.
INLINE v16f load_some(const float *p, int64_t count) {
  if (count >= 16) return load(p);
  float buffer[16] = {0};
  for (int64_t i = 0; i < count; i++) buffer[i] = p[i];
  return load(buffer);
}

INLINE void store_some(float *p, v16f v, int64_t count) {
  if (count >= 16) {
    store(p, v);
    return;
  }
  float buffer[16];
  store(buffer, v);
  for (int64_t i = 0; i < count; i++) p[i] = buffer[i];
}

INLINE v16f load_bf16(const uint16_t *p) {
  v16h halves;
  memcpy(&halves, p, sizeof halves);
  v16u bits = __builtin_convertvector(halves, v16u) << 16;
  return (v16f)bits;
}

INLINE v16f splat(float x) { return (v16f)(x); }

INLINE v16f fma16(v16f a, v16f b, v16f c) {
#if CK_HAS_FMA
  return __builtin_elementwise_fma(a, b, c);
#else
  return a * b + c;
#endif
}

/// `mask` lanes are all ones or all zeros.
INLINE v16f choose(v16i mask, v16f yes, v16f no) {
  return (v16f)((mask & (v16i)yes) | (~mask & (v16i)no));
}

/// The sum of all lanes, in one order: halves, quarters, pairs.
INLINE float sum16(v16f v) {
  v8f a = v.lo + v.hi;
  v4f b = a.lo + a.hi;
  return (b.x + b.z) + (b.y + b.w);
}

INLINE float largest16(v16f v) {
  v8f a = __builtin_elementwise_max(v.lo, v.hi);
  v4f b = __builtin_elementwise_max(a.lo, a.hi);
  float c = b.x > b.y ? b.x : b.y, d = b.z > b.w ? b.z : b.w;
  return c > d ? c : d;
}

/// e^x within about 1 unit in the last place; 0 and infinity where they belong, NaN for NaN.
/// x = n ln 2 + r, |r| <= ln 2 / 2; a polynomial for e^r, then two steps to 2^n, so that results
/// below the normal range are rounded once.
INLINE v16f exp16(v16f x) {
  x = choose(x > splat(89.0f), splat(89.0f), x);
  x = choose(x < splat(-104.0f), splat(-104.0f), x);
  const v16f shift = splat(12582912.0f);  // 1.5 · 2^23: adding it rounds to an integer
  const v16f shifted = fma16(x, splat(1.44269504f), shift);
  const v16f n = shifted - shift;
  v16f r = fma16(n, splat(-0.693145752f), x);  // exact: 15 bits of ln 2
  r = fma16(n, splat(-1.42860677e-6f), r);
  v16f p = splat(1.98412698e-4f);  // 1 / 7!
  p = fma16(p, r, splat(1.38888889e-3f));
  p = fma16(p, r, splat(8.33333333e-3f));
  p = fma16(p, r, splat(4.16666667e-2f));
  p = fma16(p, r, splat(1.66666667e-1f));
  p = fma16(p, r, splat(0.5f));
  p = fma16(p * r, r, r) + splat(1.0f);
  const v16i exponent = (v16i)shifted - (v16i)shift;
  const v16i half = exponent >> 1;
  const v16f low = (v16f)((half + 127) << 23);
  const v16f high = (v16f)((exponent - half + 127) << 23);
  return p * low * high;
}
