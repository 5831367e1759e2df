// SPDX-License-Identifier: Apache-2.0
// Stored matrices to panels.
#include <math.h>
#include <string.h>

#include "bits.h"
#include "kernels.h"

enum { SEGMENT = CK_CODE_GROUP };

/// Inner indices from `k` on of a panel's columns, `[index][column]`; zeros where there are none.
static void read_segment(
    const ck_pack *p, int64_t panel, int64_t k, float out[SEGMENT][CK_PANEL]) {
  const int64_t left = p->columns - panel * CK_PANEL, length = p->inner - k;
  const int64_t columns = left < CK_PANEL ? left : CK_PANEL;
  const int64_t count = length < SEGMENT ? length : SEGMENT;
  memset(out, 0, sizeof(float[SEGMENT][CK_PANEL]));
  if (p->transposed) {
    for (int64_t i = 0; i < count; i++)
      ck_convert(&p->source, p->first_row + k + i, panel * CK_PANEL, columns, out[i]);
    return;
  }
  float row[SEGMENT];
  for (int64_t n = 0; n < columns; n++) {
    ck_convert(&p->source, p->first_row + panel * CK_PANEL + n, k, count, row);
    for (int64_t i = 0; i < count; i++) out[i][n] = row[i];
  }
}

static void pack_floats(const ck_pack *p, int64_t panel) {
  float segment[SEGMENT][CK_PANEL];
  for (int64_t k = 0; k < p->inner; k += SEGMENT) {
    read_segment(p, panel, k, segment);
    const int64_t count = p->inner - k < SEGMENT ? p->inner - k : SEGMENT;
    const int64_t start = (panel * p->inner + k) * CK_PANEL;
    for (int64_t i = 0; i < count * CK_PANEL; i++) {
      const float value = segment[i / CK_PANEL][i % CK_PANEL];
      if (p->type == CK_BF16)
        ((uint16_t *)p->panels)[start + i] = to_bf16(value);
      else
        ((float *)p->panels)[start + i] = value;
    }
  }
}

/// The value of largest magnitude; infinite if one is, or is not a number.
static float largest_of(const float (*values)[CK_PANEL], int count, int column) {
  float largest = 0;
  for (int i = 0; i < count; i++) {
    const float value = values[i][column];
    if (!isfinite(value)) return INFINITY;
    if (fabsf(value) > fabsf(largest)) largest = value;
  }
  return largest;
}

/// The scale of a group, as bf16, and its inverse. A group in which something is not a number gets
/// such a scale, so that it stays seen.
static float group_scale(float scale, uint16_t *stored) {
  if (!isfinite(scale)) {
    *stored = to_bf16(NAN);
    return 0;
  }
  *stored = to_bf16(scale);
  const float rounded = from_bits((uint32_t)*stored << 16);
  return fabsf(rounded) < 0x1p-120f ? 0 : 1 / rounded;
}

/// The nearest integer within limits, of two the even one.
static inline int clamped(float value, int low, int high) {
  const float least = (float)low, most = (float)high;
  const float limited = value < least ? least : value > most ? most : value;
  const float shift = 12582912.0f;  // 1.5 · 2^23: adding it rounds to an integer
  return (int)(limited + shift - shift);
}

/// Symmetric: the largest magnitude becomes 127.
static void pack_w8(const ck_pack *p, int64_t panel, int64_t padded, int64_t groups) {
  float segment[SEGMENT][CK_PANEL];
  uint8_t *codes = (uint8_t *)p->panels + panel * padded * CK_PANEL;
  uint16_t *scales = p->scales + panel * groups * CK_PANEL;
  for (int64_t group = 0; group < groups; group++) {
    read_segment(p, panel, group * CK_CODE_GROUP, segment);
    const int64_t left = padded - group * CK_CODE_GROUP;
    const int count = left < CK_CODE_GROUP ? (int)left : CK_CODE_GROUP;
    for (int n = 0; n < CK_PANEL; n++) {
      const float largest = largest_of((const float (*)[CK_PANEL])segment, count, n);
      const float inverse =
          group_scale(fabsf(largest) / 127, &scales[group * CK_PANEL + n]);
      for (int i = 0; i < count; i++) {
        const int code = inverse == 0 ? 0 : clamped(segment[i][n] * inverse, -127, 127);
        codes[(group * CK_CODE_GROUP + i) / 4 * 64 + n * 4 + i % 4] = (uint8_t)(code + 128);
      }
    }
  }
}

/// The value of largest magnitude becomes -8, whatever its sign: one more code than symmetric.
static void pack_w4(const ck_pack *p, int64_t panel, int64_t padded, int64_t groups) {
  float segment[SEGMENT][CK_PANEL];
  uint8_t *codes = (uint8_t *)p->panels + panel * padded * CK_PANEL / 2;
  uint16_t *scales = p->scales + panel * groups * CK_PANEL;
  memset(codes, 0, (size_t)(padded * CK_PANEL / 2));
  for (int64_t group = 0; group < groups; group++) {
    const int first = (int)(group * CK_W4_GROUP % SEGMENT);
    if (first == 0) read_segment(p, panel, group * CK_W4_GROUP, segment);
    for (int n = 0; n < CK_PANEL; n++) {
      const float largest =
          largest_of((const float (*)[CK_PANEL])segment + first, CK_W4_GROUP, n);
      const float inverse = group_scale(largest / -8, &scales[group * CK_PANEL + n]);
      for (int i = 0; i < CK_W4_GROUP; i++) {
        const int code = inverse == 0 ? 0 : clamped(segment[first + i][n] * inverse, -8, 7);
        const int64_t byte = (group * CK_W4_GROUP + i) / 8 * 64 + n * 4 + i % 4;
        codes[byte] |= (uint8_t)((code + 8) << (i % 8 / 4 * 4));
      }
    }
  }
}

/// The codes as they are stored, each column with its groups' scales and zeros. Zeros behind the
/// last column and inner index: what is multiplied with these is zero as well.
static void pack_stored(const ck_pack *p, int64_t panel, int64_t padded) {
  const ck_stored_codes *stored = &p->source.codes;
  const int is_int4 = p->type == CK_INT4;
  const int64_t bytes = padded * CK_PANEL / (is_int4 ? 2 : 1);
  const int64_t groups = (p->inner + p->factors.group - 1) / p->factors.group;
  uint8_t *codes = (uint8_t *)p->panels + panel * bytes;
  float *scales = p->factors.scales + panel * groups * CK_PANEL;
  uint8_t *zeros = p->factors.zeros + panel * groups * CK_PANEL;
  memset(codes, 0, (size_t)bytes);
  memset(scales, 0, (size_t)(groups * CK_PANEL) * sizeof(float));
  memset(zeros, 0, (size_t)(groups * CK_PANEL));
  const int64_t left = p->columns - panel * CK_PANEL;
  const int64_t columns = left < CK_PANEL ? left : CK_PANEL;
  const int64_t first = p->first_row + panel * CK_PANEL;
  for (int64_t group = 0; group < groups; group++)
    for (int64_t n = 0; n < columns; n++) {
      scales[group * CK_PANEL + n] = ck_code_scale(stored, first + n, group);
      zeros[group * CK_PANEL + n] = (uint8_t)ck_code_zero(stored, first + n, group);
    }
  // Column by column in short pieces: however the words lie, few cache lines serve all 16.
  for (int64_t k = 0; k < p->inner; k += SEGMENT) {
    const int64_t count = p->inner - k < SEGMENT ? p->inner - k : SEGMENT;
    uint8_t *out = codes + k * (is_int4 ? CK_PANEL / 2 : CK_PANEL);
    for (int64_t n = 0; n < columns; n++) {
      uint8_t segment[SEGMENT];
      ck_read_integers(&stored->codes, first + n, k, count, segment);
      if (count < SEGMENT) memset(segment + count, 0, (size_t)(SEGMENT - count));
      if (is_int4)
        for (int64_t i = 0; i < count; i += 8)
          for (int64_t j = 0; j < 4; j++)
            out[i * 8 + n * 4 + j] = (uint8_t)(segment[i + j] | segment[i + j + 4] << 4);
      else
        for (int64_t i = 0; i < count; i += 4) memcpy(out + i * 16 + n * 4, segment + i, 4);
    }
  }
}

void ck_run_pack(const void *arguments, const ck_step *step, ck_worker *worker) {
  (void)step;
  const ck_pack *p = arguments;
  const int64_t panels = (p->columns + CK_PANEL - 1) / CK_PANEL;
  const int64_t padded = ck_padded_inner(p->inner);
  for (int64_t panel; (panel = ck_claim(worker)) < panels;) {
    if (p->type == CK_W8)
      pack_w8(p, panel, padded, ck_scale_groups(p->type, p->inner));
    else if (p->type == CK_W4)
      pack_w4(p, panel, padded, ck_scale_groups(p->type, p->inner));
    else if (p->type == CK_INT8 || p->type == CK_INT4)
      pack_stored(p, panel, padded);
    else
      pack_floats(p, panel);
  }
}

/// Bytes of a unit of copying: as much as a huge page, so that one worker touches it first.
enum { COPY_BLOCK = 2 << 20 };

void ck_run_copy(const void *arguments, const ck_step *step, ck_worker *worker) {
  (void)step;
  const ck_copy *c = arguments;
  for (int64_t unit; (unit = ck_claim(worker)) * COPY_BLOCK < c->bytes;) {
    const int64_t from = unit * COPY_BLOCK, left = c->bytes - from;
    memcpy(
        (char *)c->to + from, (const char *)c->from + from,
        (size_t)(left < COPY_BLOCK ? left : COPY_BLOCK));
  }
}
