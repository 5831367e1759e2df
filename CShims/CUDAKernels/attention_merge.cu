// SPDX-License-Identifier: Apache-2.0
// The last step of attention where a row's keys were cut in parts: folds the parts' sums to tiles'
// groups and these to the row's output, in the order of `attention_order.h`. A thread has two
// columns of a row.
#include "attention_rows.h"

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

}  // namespace

// Grid: pairs of output columns; rows from `first_row` on.
EARLY_KERNEL(merge, cu_attention, cu_threads) {
  const int row = op.first_row + block_y(), pairs = part_width(op) / 2;
  const int index = block_x() * cu_threads + thread_index();
  const int head = index / pairs, column = index % pairs * 2;
  const cu_step step = *op.step;
  if (row >= step.counts[0] || head >= op.key_heads * op.heads_per_key) {
    return wait_for_previous();
  }
  const int keys = held_keys(&step, load_now(step.positions + row));
  const int part = tiles_of_part(op.parts, keys), group = tiles_of_group(keys) / part;
  const int count = (tiles_of(keys) + part - 1) / part;
  const int64_t first = part_index(op, row, head, 0);
  wait_for_previous();
  PairSum sum, total;
  for (int start = 0; start < count; start += parts_at_once) {
    Float2 values[parts_at_once], scores[parts_at_once];
    UNROLL for (int i = 0; i < parts_at_once; i++) {
      if (start + i >= count) continue;
      values[i] = *(const Float2 *)(op.part_sums + (first + start + i) * pairs * 2 + column);
      scores[i] = *(const Float2 *)(op.part_scores + (first + start + i) * 2);
    }
    UNROLL for (int i = 0; i < parts_at_once; i++) {
      if (start + i >= count) continue;
      sum.add({values[i], {scores[i].x, scores[i].y}});
      if ((start + i + 1) % group != 0 && start + i + 1 != count) continue;
      total.add(sum);
      sum = PairSum();
    }
  }
  const float factor = inverse_sum(total.scores);
  store_output(op, row, head, column, total.values.x * factor, total.values.y * factor);
  if (column == 0) store_log(op, row, head, total.scores);
}
