// SPDX-License-Identifier: Apache-2.0
// The last step of attention where a row's keys were cut in parts: folds the parts' sums to tiles'
// groups and these to the row's output, in the order of `attention_order.h`. A thread has two
// columns of a row; four where products read the output as codes and a warp so has all columns that
// share a scale.
#include "attention_rows.h"
#include "coded_rows.h"

namespace {

/// What `merge` has of two columns.
struct PairSum {
  Float2 values = {0, 0};
  Scores scores;

  DEVICE_MEMBER void add(const PairSum &other) {
    const Fold factors = fold(scores, other.scores);
    values = {folded(values.x, other.values.x, factors), folded(values.y, other.values.y, factors)};
  }
};

/// Parts that `merge` has on their way at once.
constexpr int parts_at_once = 8;

template <int pairs> struct Merge {
  const cu_attention &op;
  int row, head, column;
  PairSum sum[pairs], total[pairs];

  /// Folds all parts of a row that sees so many keys.
  DEVICE_MEMBER void run(int keys) {
    const int part = tiles_of_part(op.parts, keys);
    run(part_index(op, row, head, 0), (tiles_of(keys) + part - 1) / part,
        tiles_of_group(keys) / part);
  }

  DEVICE_MEMBER void run(int64_t first, int count, int group) {
    const int width = part_width(op);
    for (int start = 0; start < count; start += parts_at_once) {
      Float2 values[parts_at_once][pairs], scores[parts_at_once];
      UNROLL for (int i = 0; i < parts_at_once; i++) {
        if (start + i >= count) continue;
        const Float2 *place = (const Float2 *)(op.part_sums + (first + start + i) * width + column);
        UNROLL for (int p = 0; p < pairs; p++) values[i][p] = place[p];
        scores[i] = *(const Float2 *)(op.part_scores + (first + start + i) * 2);
      }
      UNROLL for (int i = 0; i < parts_at_once; i++) {
        if (start + i >= count) continue;
        const bool ends = (start + i + 1) % group == 0 || start + i + 1 == count;
        UNROLL for (int p = 0; p < pairs; p++) {
          sum[p].add({values[i][p], {scores[i].x, scores[i].y}});
          if (!ends) continue;
          total[p].add(sum[p]);
          sum[p] = PairSum();
        }
      }
    }
  }

  DEVICE_MEMBER void store() const {
    const float factor = inverse_sum(total[0].scores);
    UNROLL for (int p = 0; p < pairs; p++) {
      const Float2 &values = total[p].values;
      store_output(op, row, head, column + 2 * p, values.x * factor, values.y * factor);
    }
    if (column == 0) store_log(op, row, head, total[0].scores);
  }

  /// Codes of a warp's columns too, all of one head.
  DEVICE_MEMBER void store_codes() const {
    const float factor = inverse_sum(total[0].scores);
    const Float2 &low = total[0].values, &high = total[pairs - 1].values;
    const int spans = op.key_heads * op.heads_per_key * op.value_width / cu_span;
    const Float4 x = {low.x * factor, low.y * factor, high.x * factor, high.y * factor};
    put_codes(op.codes, row, spans, (head * op.value_width + column) / cu_span, {{x}});
  }
};

template <int pairs> DEVICE void merge_parts(const cu_attention &op) {
  const int row = op.first_row + block_y(), threads = part_width(op) / (2 * pairs);
  const int index = block_x() * cu_threads + thread_index();
  const int head = index / threads, column = index % threads * 2 * pairs;
  const cu_step step = *op.step;
  if (row >= step.counts[0] || head >= op.key_heads * op.heads_per_key) {
    return wait_for_previous();
  }
  const int keys = held_keys(&step, load_now(step.positions + row));
  Merge<pairs> merge = {op, row, head, column, {}, {}};
  wait_for_previous();
  merge.run(keys);
  merge.store();
  if constexpr (pairs > 1) merge.store_codes();
}

}  // namespace

// Grid: pairs of output columns; rows from `first_row` on.
EARLY_KERNEL(merge, cu_attention, cu_threads) { merge_parts<1>(op); }

// Grid: fours of output columns, of which a head has whole spans; rows likewise.
EARLY_KERNEL(merge_codes, cu_attention, cu_threads) { merge_parts<2>(op); }
