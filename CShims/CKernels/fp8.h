// SPDX-License-Identifier: Apache-2.0
// FP8 e4m3 without infinities (Micikevicius et al. 2022).
#pragma once
#include <math.h>

#include "bits.h"

static inline float with_sign(float magnitude, uint32_t sign) {
  return from_bits(bits_of(magnitude) | sign);
}

static inline float from_fp8(uint8_t code) {
  const uint32_t magnitude = code & 0x7Fu, sign = (uint32_t)(code & 0x80u) << 24;
  if (magnitude == 0x7Fu) return with_sign(NAN, sign);
  const float subnormal = (float)(int32_t)magnitude * 0x1p-9f;
  const float normal = from_bits((magnitude << 20) + ((127u - 7) << 23));
  return with_sign(magnitude < 8 ? subnormal : normal, sign);
}
