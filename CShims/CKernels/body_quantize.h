// SPDX-License-Identifier: Apache-2.0
// Activations to codes, group by group: a row's codes depend on that row alone.
#pragma once
#include <math.h>

#include "dot.h"
#include "kernels.h"
#include "vector.h"

/// Some values to codes, whole parts: x ≈ scale · code, scale = largest |x| / 127.
INLINE void quantize_values(
    const float *values, const int count, int8_t *codes, float *scales, int32_t *sums) {
  v16i largest = (v16i)(0);
#pragma clang loop unroll(full)
  for (int i = 0; i < count; i += 16) {
    // As bits, magnitudes are in order, NaN and infinity above all.
    const v16i magnitude = (v16i)load(values + i) & 0x7FFFFFFF;
    largest = __builtin_elementwise_max(largest, magnitude);
  }
  int32_t bits = 0;
  for (int i = 0; i < 16; i++) bits = largest[i] > bits ? largest[i] : bits;
  float highest;
  memcpy(&highest, &bits, sizeof highest);
  const int usable = bits < 0x7F800000 && highest > 127 * 0x1p-126f;
  // What is not a number stays none; what is below the normal range is 0.
  const float scale = bits < 0x7F800000 ? (usable ? highest / 127 : 0) : NAN;
  const v16f inverse = splat(usable ? 127 / highest : 0);
  const v16f shift = splat(12582912.0f);  // 1.5 · 2^23: adding it rounds to an integer
#pragma clang loop unroll(full)
  for (int part = 0; part < count / CK_CODE_PART; part++) {
    v16i sum = (v16i)(0);
#pragma clang loop unroll(full)
    for (int i = part * CK_CODE_PART; i < (part + 1) * CK_CODE_PART; i += 16) {
      const v16f scaled = usable ? load(values + i) * inverse : splat(0);
      const v16i code = (v16i)(scaled + shift) - (v16i)shift;
      store_codes(codes + i, code);
      sum += code;
    }
    scales[part] = scale;
    sums[part] = sum_lanes(sum);
  }
}

/// One part of a group that has scales of its own.
static void quantize_part(const float *values, int8_t *codes, ck_code_group *group, int64_t part) {
  quantize_values(values, CK_CODE_PART, codes, group->scales + part, group->sums + part);
}

static void quantize_group(
    const float *values, int in_parts, int8_t *codes, ck_code_group *group) {
  if (!in_parts) {
    quantize_values(values, CK_CODE_GROUP, codes, group->scales, group->sums);
    return;
  }
  for (int64_t part = 0; part < CK_CODE_PARTS; part++)
    quantize_part(values + part * CK_CODE_PART, codes + part * CK_CODE_PART, group, part);
}

/// The groups `first ..< end` of row `row`, whose values are `values ..< values + width`.
static void quantize_row(
    const ck_codes *codes, int64_t row, const float *values, int64_t width, int64_t first,
    int64_t end) {
  for (int64_t group = first; group < end; group++) {
    const int64_t column = group * CK_CODE_GROUP, left = width - column;
    const float *source = values + column;
    float last[CK_CODE_GROUP] = {0};
    if (left < CK_CODE_GROUP) source = memcpy(last, source, (size_t)left * sizeof(float));
    const int64_t place = row * codes->group_count + group;
    quantize_group(
        source, codes->in_parts, codes->codes + place * CK_CODE_GROUP, codes->groups + place);
  }
}

/// Groups of a unit of work.
enum { QUANTIZE_GROUPS = 16 };

static void run_quantize(const void *arguments, const ck_step *step, ck_worker *worker) {
  (void)step;
  const ck_quantize *q = arguments;
  const int64_t groups = q->codes.group_count;
  const int64_t blocks = (groups + QUANTIZE_GROUPS - 1) / QUANTIZE_GROUPS;
  const int64_t units = *q->rows * q->repeat * blocks;
  for (int64_t unit; (unit = ck_claim(worker)) < units;) {
    const int64_t row = unit / blocks, first = unit % blocks * QUANTIZE_GROUPS;
    const int64_t end = first + QUANTIZE_GROUPS < groups ? first + QUANTIZE_GROUPS : groups;
    quantize_row(&q->codes, row, q->input + row * q->input_stride, q->width, first, end);
  }
}
