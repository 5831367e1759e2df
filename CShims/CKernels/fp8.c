// SPDX-License-Identifier: Apache-2.0
// Products of FP8 weights and FP8 activations, exact to their definition and the same on every
// level; for comparing, not fast. With x ≈ s a in each group of 128 inner indices and w = t u in
// each block, an output is the sum over the groups, in order and in f32, of ((Σ a u) s) t, where
// Σ a u is exact and rounded once: it has at most 43 bits, which a double holds.
#include "fp8.h"

#include <math.h>
#include <string.h>

#include "kernels.h"

// Sums and products are rounded one by one.
#pragma STDC FP_CONTRACT OFF

/// The largest value.
static const float fp8_max = 448;

/// To the nearest, of two the even one; at most the largest value. A NaN stays one.
static inline uint8_t to_fp8(float value) {
  const uint32_t bits = bits_of(value), sign = bits >> 24 & 0x80u;
  uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return 0x7F;
  if (magnitude > bits_of(fp8_max)) magnitude = bits_of(fp8_max);
  if (magnitude < (127u - 6) << 23) {
    // In units of the smallest subnormal; 8 of them are the smallest normal number, coded 8.
    const float shift = 12582912.0f;  // 1.5 · 2^23: adding it rounds to an integer
    return (uint8_t)(sign | (uint32_t)(from_bits(magnitude) * 0x1p9f + shift - shift));
  }
  magnitude += 0x7FFFFu + (magnitude >> 20 & 1);
  return (uint8_t)(sign | ((magnitude >> 20) - ((127u - 7) << 3)));
}

/// The scale of a group of activations: the largest magnitude becomes 448, or with powers of two
/// at most that.
static float fp8_scale(const float *x, int64_t count, int powers_of_two) {
  float largest = 1e-4f;
  for (int64_t i = 0; i < count; i++) {
    if (isnan(x[i])) return NAN;
    if (fabsf(x[i]) > largest) largest = fabsf(x[i]);
  }
  const float scale = largest / fp8_max;
  if (!powers_of_two || !isfinite(scale)) return scale;
  const uint32_t bits = bits_of(scale);
  return from_bits((bits & 0x007FFFFFu ? bits + 0x00800000u : bits) & 0x7F800000u);
}

void ck_run_quantize_fp8(const void *arguments, const ck_step *step, ck_worker *worker) {
  (void)step;
  const ck_quantize *q = arguments;
  const int64_t groups = q->codes.group_count;
  for (int64_t row; (row = ck_claim(worker)) < *q->rows * q->repeat;)
    for (int64_t group = 0; group < groups; group++) {
      const float *x = q->input + row * q->input_stride + group * CK_CODE_GROUP;
      const int64_t left = q->width - group * CK_CODE_GROUP;
      const int64_t count = left < CK_CODE_GROUP ? left : CK_CODE_GROUP;
      const float scale = fp8_scale(x, count, q->powers_of_two);
      uint8_t *codes = (uint8_t *)q->codes.codes + (row * groups + group) * CK_CODE_GROUP;
      memset(codes, 0, CK_CODE_GROUP);
      for (int64_t i = 0; i < count; i++) codes[i] = to_fp8(x[i] / scale);
      q->codes.groups[row * groups + group] = (ck_code_group){.scales = {scale}};
    }
}

/// Values of `count` codes.
static void decode(const uint8_t *codes, int64_t count, double *out) {
  for (int64_t i = 0; i < count; i++) out[i] = from_fp8(codes[i]);
}

/// One column by all rows.
static void multiply_column(const ck_gemm *g, int64_t column) {
  const uint8_t *weights = (const uint8_t *)g->panels + column * g->inner;
  const int64_t groups = g->codes.group_count;
  for (int64_t group = 0; group < groups; group++) {
    double w[CK_CODE_GROUP], x[CK_CODE_GROUP];
    const int64_t from = group * CK_CODE_GROUP, left = g->inner - from;
    const int64_t count = left < CK_CODE_GROUP ? left : CK_CODE_GROUP;
    const float weight_scale = g->factors.scales[column * groups + group];
    decode(weights + from, count, w);
    for (int64_t row = 0; row < *g->rows; row++) {
      const int64_t in = g->input_rows ? g->input_rows[row] : row;
      const int64_t out = g->output_rows ? g->output_rows[row] : row;
      const int64_t place = in * groups + group;
      decode((const uint8_t *)g->codes.codes + place * CK_CODE_GROUP, count, x);
      double exact = 0;
      for (int64_t i = 0; i < count; i++) exact += x[i] * w[i];
      const float part = (float)exact * g->codes.groups[place].scales[0] * weight_scale;
      float *output = g->output + out * g->output_stride + column;
      *output = (group == 0 ? 0 : *output) + part;
    }
  }
  if (g->bias == NULL) return;
  for (int64_t row = 0; row < *g->rows; row++) {
    const int64_t out = g->output_rows ? g->output_rows[row] : row;
    g->output[out * g->output_stride + column] += g->bias[column];
  }
}

void ck_multiply_fp8(const ck_gemm *g, int64_t panel, int64_t end) {
  const int64_t columns = end * CK_PANEL < g->columns ? end * CK_PANEL : g->columns;
  for (int64_t column = panel * CK_PANEL; column < columns; column++) multiply_column(g, column);
}
