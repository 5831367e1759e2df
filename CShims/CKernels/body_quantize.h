// SPDX-License-Identifier: Apache-2.0
// Activations to codes, group by group: a row's codes depend on that row alone.
#include <math.h>

#include "dot.h"
#include "kernels.h"
#include "vector.h"

/// Activations to codes: x ≈ scale · code, scale = largest |x| of the group / 127.
static void quantize_group(const float *values, int8_t *codes, ck_code_group *group) {
  v16i largest = (v16i)(0);
  for (int i = 0; i < CK_CODE_GROUP; i += 16) {
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
  group->scale = bits < 0x7F800000 ? (usable ? highest / 127 : 0) : NAN;
  const v16f inverse = splat(usable ? 127 / highest : 0);
  const v16f shift = splat(12582912.0f);  // 1.5 · 2^23: adding it rounds to an integer
  group->sum = 0;
  for (int part = 0; part < 4; part++) {
    v16i sum = (v16i)(0);
    for (int i = part * 32; i < part * 32 + 32; i += 16) {
      const v16f scaled = usable ? load(values + i) * inverse : splat(0);
      const v16i code = (v16i)(scaled + shift) - (v16i)shift;
      store_codes(codes + i, code);
      sum += code;
    }
    group->parts[part] = sum_lanes(sum);
    group->sum += group->parts[part];
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
    for (int64_t group = first; group < end; group++) {
      const int64_t column = group * CK_CODE_GROUP, left = q->width - column;
      const float *values = q->input + row * q->input_stride + column;
      float last[CK_CODE_GROUP] = {0};
      if (left < CK_CODE_GROUP) values = memcpy(last, values, (size_t)left * sizeof(float));
      quantize_group(
          values, q->codes.codes + (row * groups + group) * CK_CODE_GROUP,
          q->codes.groups + row * groups + group);
    }
  }
}
