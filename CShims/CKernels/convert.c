// SPDX-License-Identifier: Apache-2.0
// Stored elements to f32, exactly.
#include "bits.h"
#include "kernels.h"

#include <math.h>
#include <string.h>

static inline float with_sign(float magnitude, uint32_t sign) {
  return from_bits(bits_of(magnitude) | sign);
}

static inline float from_f16(uint16_t half) {
  const uint32_t magnitude = half & 0x7FFFu, sign = (uint32_t)(half & 0x8000u) << 16;
  // Exponent 31 (infinity, NaN) becomes 255, others move from bias 15 to 127.
  const uint32_t rebias = magnitude >= 0x7C00u ? (255u - 31) << 23 : (127u - 15) << 23;
  const float subnormal = (float)(int32_t)magnitude * 0x1p-24f;
  return with_sign(magnitude < 0x400u ? subnormal : from_bits((magnitude << 13) + rebias), sign);
}

/// FP8 e4m3 without infinities (Micikevicius et al. 2022).
static inline float from_fp8(uint8_t code) {
  const uint32_t magnitude = code & 0x7Fu, sign = (uint32_t)(code & 0x80u) << 24;
  if (magnitude == 0x7Fu) return with_sign(NAN, sign);
  const float subnormal = (float)(int32_t)magnitude * 0x1p-9f;
  const float normal = from_bits((magnitude << 20) + ((127u - 7) << 23));
  return with_sign(magnitude < 8 ? subnormal : normal, sign);
}

uint16_t ck_to_bf16(float value) { return to_bf16(value); }

void ck_convert(const ck_tensor *t, int64_t row, int64_t column, int64_t count, float *out) {
  const int64_t start = row * t->columns + column;
  switch (t->type) {
    case CK_F32: memcpy(out, (const float *)t->bytes + start, (size_t)count * 4); break;
    case CK_F16:
      for (int64_t i = 0; i < count; i++)
        out[i] = from_f16(((const uint16_t *)t->bytes)[start + i]);
      break;
    case CK_BF16:
      for (int64_t i = 0; i < count; i++)
        out[i] = from_bits((uint32_t)((const uint16_t *)t->bytes)[start + i] << 16);
      break;
    case CK_FP8:
      for (int64_t i = 0; i < count; i++)
        out[i] = from_fp8(((const uint8_t *)t->bytes)[start + i]);
      break;
    case CK_W8:
    case CK_W4: break;  // forms of packed matrices: no tensor is stored so
  }
  if (t->scales == NULL) return;
  const float *scales = t->scales + row / t->block_rows * t->blocks_per_row;
  for (int64_t i = 0; i < count; i++) out[i] *= scales[(column + i) / t->block_columns];
}
