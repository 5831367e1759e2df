// SPDX-License-Identifier: Apache-2.0
// Rows that the blocks of a product of few tokens norm by themselves, where nothing else reads
// them: it saves a kernel and the border behind it, and each block reads the rows in floats
// (`norm.h`). They lie in shared memory as the product reads them, bfloat16 or codes, with zeros up
// to whole spans.
#pragma once
#include "norm.h"

/// Of rows that a block has made, one; the last for those behind it.
DEVICE const char *made_row(const char *rows, int stride, int index, int count) {
  const int last = count > 0 ? count - 1 : 0;
  return rows + (index < last ? index : last) * stride;
}

template <int format> struct NormedRows {
  static constexpr bool are_codes = cu_takes_codes((cu_format)format);
  /// Of a thread's weights, fours in registers: more would leave room for fewer blocks.
  static constexpr int kept = are_codes ? 2 : 4;

  const cu_norm &op;
  char *const rows;
  const int spans, stride;
  Float4 weights[kept];

  /// Asks for the norm's weights.
  DEVICE_MEMBER NormedRows(const cu_norm &op, char *rows)
      : op(op), rows(rows), spans((op.input.width + cu_span - 1) / cu_span),
        stride(cu_normed_row_bytes((cu_format)format, spans)) {
    load_norm_weights(op, 4 * thread_index(), weights);
  }

  DEVICE_MEMBER void put(int row, int column, const Float4 &x, const Float4 &weight,
                         float factor) const {
    // A warp stays together.
    const int span = column / cu_span;
    if (span >= spans) return;
    const Float4 y = normed(x, weight, factor);
    if constexpr (are_codes) {
      put_codes({(uint8_t *)rows, stride, cu_code_s8, 0}, row, spans, span, {{y}});
    } else {
      *(Words2 *)(rows + row * stride + column * 2) = {bf16_pair(y.x, y.y), bf16_pair(y.z, y.w)};
    }
  }

  DEVICE_MEMBER void put_fours(int row, int column, const Float4 (&of_columns)[kept],
                               float factor) const {
    Float4 x[kept];
    NormRow(op, row).load(column, x);
    UNROLL for (int i = 0; i < kept; i++) {
      put(row, column + i * norm_pass, x[i], of_columns[i], factor);
    }
  }

  DEVICE_MEMBER void put_row(int row, float factor) const {
    const int first = 4 * thread_index(), step = kept * norm_pass;
    put_fours(row, first, weights, factor);
    for (int column = first + step; column < spans * cu_span; column += step) {
      Float4 more[kept];
      load_norm_weights(op, column, more);
      put_fours(row, column, more, factor);
    }
  }

  DEVICE_MEMBER const char *row(int index, int count) const {
    return made_row(rows, stride, index, count);
  }
};

/// Norms the first `count` rows of the step. All threads call it.
template <int format> DEVICE void norm_rows(const NormedRows<format> &rows, int count) {
  SHARED float sums[cu_few_tokens][cu_threads / 32];
  for (int row = 0; row < count; row++) {
    Float4 x[NormedRows<format>::kept];
    leave_sum_of_warp(NormRow(rows.op, row).sum(x), sums[row]);
  }
  sync_block();
  // Read again, from the first-level cache: registers for all rows there are not.
  for (int row = 0; row < count; row++) {
    rows.put_row(row, norm_factor(rows.op, sum_of_warps(sums[row])));
  }
  sync_block();
}
