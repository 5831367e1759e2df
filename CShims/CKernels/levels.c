// SPDX-License-Identifier: Apache-2.0
// Which kernels this machine can run.
#include "levels.h"

#include "kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>

enum {
  FMA = 1 << 12, OSXSAVE = 1 << 27, F16C = 1 << 29,           // leaf 1, ecx
  AVX2 = 1 << 5, AVX512F = 1 << 16, AVX512DQ = 1 << 17,       // leaf 7, ebx
  AVX512BW = 1 << 30,
  AVX512VNNI = 1 << 11,                                       // leaf 7, ecx
  AVXVNNI = 1 << 4, AVX512BF16 = 1 << 5,                      // leaf 7.1, eax
  STATE_AVX = 0x06, STATE_AVX512 = 0xE6                       // XCR0
};
static const unsigned AVX512VL = 1u << 31;

/// The register state that the operating system saves (XGETBV of XCR0).
static unsigned saved_state(void) {
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

/// One bit for each level.
static unsigned levels_here(void) {
  const unsigned portable = 1u << CK_PORTABLE;
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OSXSAVE)) return portable;
  const int has_fma = (c & FMA) && (c & F16C);
  const unsigned state = saved_state();
  if (!has_fma || (state & STATE_AVX) != STATE_AVX) return portable;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & AVX2)) return portable;
  unsigned levels = portable | 1u << CK_AVX2;
  const unsigned wide = AVX512F | AVX512DQ | AVX512BW | AVX512VL;
  if ((b & wide) == wide && (state & STATE_AVX512) == STATE_AVX512) {
    levels |= 1u << CK_AVX512;
    if (c & AVX512VNNI) levels |= 1u << CK_AVX512_VNNI;
  }
  // Leaf 7 says in eax how many subleaves it has.
  if (a < 1 || !__get_cpuid_count(7, 1, &a, &b, &c, &d)) return levels;
  if (a & AVXVNNI) levels |= 1u << CK_AVX2_VNNI;
  if ((a & AVX512BF16) && (levels & 1u << CK_AVX512_VNNI)) levels |= 1u << CK_AVX512_BF16;
  return levels;
}
#endif

const ck_kernels *ck_kernels_of(ck_level level) {
#if defined(__x86_64__)
  if (!(levels_here() & 1u << level)) return NULL;
  if (level == CK_AVX2) return &ck_kernels_avx2;
  if (level == CK_AVX2_VNNI) return &ck_kernels_avx2vnni;
  if (level == CK_AVX512) return &ck_kernels_avx512;
  if (level == CK_AVX512_VNNI) return &ck_kernels_avx512vnni;
  if (level == CK_AVX512_BF16) return &ck_kernels_avx512bf16;
#endif
  return level == CK_PORTABLE ? &ck_kernels_portable : NULL;
}
