// SPDX-License-Identifier: Apache-2.0
// Stored elements to f32, exactly.
#include "bits.h"
#include "fp8.h"
#include "kernels.h"

#include <math.h>
#include <string.h>

static inline float from_f16(uint16_t half) {
  const uint32_t magnitude = half & 0x7FFFu, sign = (uint32_t)(half & 0x8000u) << 16;
  // Exponent 31 (infinity, NaN) becomes 255, others move from bias 15 to 127.
  const uint32_t rebias = magnitude >= 0x7C00u ? (255u - 31) << 23 : (127u - 15) << 23;
  const float subnormal = (float)(int32_t)magnitude * 0x1p-24f;
  return with_sign(magnitude < 0x400u ? subnormal : from_bits((magnitude << 13) + rebias), sign);
}

static inline uint8_t integer(const ck_grid *g, uint8_t stored) {
  return (uint8_t)(stored + g->bias) & g->mask;
}

/// The place of a row or a column, or of its element of a word.
static inline int64_t place(int64_t index, int64_t stride, int32_t shift, uint32_t order) {
  const int64_t element = index & (((int64_t)1 << shift) - 1);
  return (index >> shift) * stride + (shift == 0 ? 0 : order >> 4 * element & 0x0F);
}

/// Columns that are no parts of a word lie a stride apart, which is of whole bytes.
static void read_strided(
    const ck_grid *g, int64_t start, int64_t column, int64_t count, uint8_t *out) {
  const uint8_t *bytes = g->bytes + ((start + column * g->column_stride) >> 1);
  const int64_t step = g->column_stride >> 1;
  const int shift = (int)(start & 1) * 4, field = g->bits == 8 ? 0xFF : 0x0F;
  for (int64_t i = 0; i < count; i++)
    out[i] = integer(g, (uint8_t)(bytes[i * step] >> shift & field));
}

void ck_read_integers(
    const ck_grid *g, int64_t row, int64_t column, int64_t count, uint8_t *out) {
  const int64_t start = place(row, g->row_stride, g->row_shift, g->order);
  if (g->column_shift == 0) {
    read_strided(g, start, column, count, out);
    return;
  }
  const int elements = 1 << g->column_shift, field = g->bits == 8 ? 0xFF : 0x0F;
  for (int64_t i = 0; i < count;) {
    const int64_t word = start + ((column + i) >> g->column_shift) * g->column_stride;
    const uint8_t *bytes = g->bytes + (word >> 1);
    const uint32_t value = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
        (uint32_t)bytes[3] << 24;
    for (int e = (int)((column + i) & (elements - 1)); e < elements && i < count; e++, i++)
      out[i] = integer(g, (uint8_t)(value >> (g->order >> 4 * e & 0x0F) * 4 & (uint32_t)field));
  }
}

float ck_code_scale(const ck_stored_codes *c, int64_t row, int64_t group) {
  const int64_t index = row * c->scale_row_stride + group * c->scale_group_stride;
  if (c->scale_type == CK_F32) return ((const float *)c->scales)[index];
  const uint16_t half = ((const uint16_t *)c->scales)[index];
  return c->scale_type == CK_F16 ? from_f16(half) : from_bits((uint32_t)half << 16);
}

int32_t ck_code_zero(const ck_stored_codes *c, int64_t row, int64_t group) {
  if (c->zeros.bytes == NULL) return c->zero;
  uint8_t zero;
  ck_read_integers(&c->zeros, row, group, 1, &zero);
  return zero;
}

/// Exactly but for the product, where the scale has more than 16 significant bits.
static void convert_codes(
    const ck_stored_codes *c, int64_t row, int64_t column, int64_t count, float *out) {
  enum { PART = 128 };
  uint8_t codes[PART];
  int64_t known = -1;
  float scale = 0;
  int32_t zero = 0;
  for (int64_t from = 0; from < count; from += PART) {
    const int64_t part = count - from < PART ? count - from : PART;
    ck_read_integers(&c->codes, row, column + from, part, codes);
    for (int64_t i = 0; i < part; i++) {
      const int64_t k = column + from + i;
      const int64_t group = c->column_groups ? c->column_groups[k] : k / c->group;
      if (group != known) {
        scale = ck_code_scale(c, row, group);
        zero = ck_code_zero(c, row, group);
        known = group;
      }
      out[from + i] = (float)(codes[i] - zero) * scale;
    }
  }
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
    case CK_INT8:
    case CK_INT4: convert_codes(&t->codes, row, column, count, out); return;
    case CK_W8:
    case CK_W4: break;  // forms of packed matrices: no tensor is stored so
  }
  if (t->scales == NULL) return;
  const float *scales = t->scales + row / t->block_rows * t->blocks_per_row;
  for (int64_t i = 0; i < count; i++) out[i] *= scales[(column + i) / t->block_columns];
}
