// SPDX-License-Identifier: Apache-2.0
// Stored elements to f32 (exact), and f32 to panels.
#include "kernels.h"

#include <math.h>
#include <string.h>

static inline float from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

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

/// To nearest, ties to even; a NaN stays one.
static inline uint16_t to_bf16(float value) {
  const uint32_t bits = bits_of(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)(bits >> 16 | 0x40u);
  return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16);
}

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
  }
  if (t->scales == NULL) return;
  const float *scales = t->scales + row / t->block_rows * t->blocks_per_row;
  for (int64_t i = 0; i < count; i++) out[i] *= scales[(column + i) / t->block_columns];
}

static inline void put(const ck_pack *p, int64_t index, float value) {
  if (p->type == CK_BF16)
    ((uint16_t *)p->panels)[index] = to_bf16(value);
  else
    ((float *)p->panels)[index] = value;
}

enum { SEGMENT = 256 };

/// Stored rows are columns of the product.
static void pack_rows(const ck_pack *p, int64_t panel, int64_t count) {
  float segment[SEGMENT];
  for (int64_t k = 0; k < p->inner; k += SEGMENT) {
    const int64_t length = p->inner - k < SEGMENT ? p->inner - k : SEGMENT;
    for (int64_t n = 0; n < CK_PANEL; n++) {
      if (n < count)
        ck_convert(&p->source, p->first_row + panel * CK_PANEL + n, k, length, segment);
      else
        memset(segment, 0, sizeof segment);
      for (int64_t i = 0; i < length; i++)
        put(p, (panel * p->inner + k + i) * CK_PANEL + n, segment[i]);
    }
  }
}

static void pack_transposed(const ck_pack *p, int64_t panel, int64_t count) {
  for (int64_t k = 0; k < p->inner; k++) {
    float values[CK_PANEL] = {0};
    ck_convert(&p->source, p->first_row + k, panel * CK_PANEL, count, values);
    for (int64_t n = 0; n < CK_PANEL; n++)
      put(p, (panel * p->inner + k) * CK_PANEL + n, values[n]);
  }
}

void ck_run_pack(const void *arguments, const ck_step *step, ck_worker *worker) {
  (void)step;
  const ck_pack *p = arguments;
  const int64_t panels = (p->columns + CK_PANEL - 1) / CK_PANEL;
  for (int64_t panel; (panel = ck_claim(worker)) < panels;) {
    const int64_t left = p->columns - panel * CK_PANEL;
    const int64_t count = left < CK_PANEL ? left : CK_PANEL;
    if (p->transposed)
      pack_transposed(p, panel, count);
    else
      pack_rows(p, panel, count);
  }
}
