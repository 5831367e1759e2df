// SPDX-License-Identifier: Apache-2.0
// Mixture of experts around the products of `product.h`.
//   group    sorts the slots of more rows than one block has chosen for (`choose.cu`, `slots.h`)
//   combine  output[r] = Σ_k weight_k · part[r · top_k + k], in order of rank
#include "slots.h"

// Grid: 32 rows each. Each block sums the masks of all, so that none waits for another.
KERNEL(group_experts, cu_route, cu_choose_threads) {
  SHARED int32_t counts[cu_experts_max], before[cu_experts_max], starts[cu_experts_max];
  SHARED int32_t work_starts[cu_experts_max];
  const int first_row = block_x() * cu_mask_rows;
  if (first_row >= op.step->counts[0]) return;
  const int experts = op.experts, blocks = (op.step->counts[0] + cu_mask_rows - 1) / cu_mask_rows;
  for (int i = thread_index(); i < experts; i += cu_choose_threads) counts[i] = before[i] = 0;
  sync_block();
  for (int i = thread_index(); i < blocks * experts; i += cu_choose_threads) {
    const int count = count_bits(op.masks[i]);
    if (count == 0) continue;
    add_shared(counts + i % experts, count);
    if (i < block_x() * experts) add_shared(before + i % experts, count);
  }
  sync_block();
  const auto count_of = [&](int expert) { return counts[expert]; };
  const int work = start_each<cu_choose_threads>(op, count_of, starts, work_starts);
  if (block_x() == 0) list_work<cu_choose_threads>(op, count_of, starts, work_starts, work);
  for (int i = thread_index(); i < experts; i += cu_choose_threads) before[i] += starts[i];
  sync_block();
  const uint32_t *masks = op.masks + (int64_t)block_x() * experts;
  place<cu_choose_threads>(op, first_row, before, masks, [&](int r, int k) {
    return op.choices[(first_row + r) * op.top_k + k].expert;
  });
}

// Grid: rows, times the blocks that a row needs. A thread takes four columns.
KERNEL(combine_experts, cu_combine, cu_threads) {
  const int blocks = (op.width + cu_combine_columns - 1) / cu_combine_columns;
  const int row = block_x() / blocks;
  const int column = block_x() % blocks * cu_combine_columns + 4 * thread_index();
  if (row >= op.step->counts[0] || column >= op.width) return;
  const int64_t first = (int64_t)row * op.top_k;
  Float4 sum = {};
  for (int k = 0; k < op.top_k; k++) {
    const float weight = op.choices[first + k].weight;
    const Float4 part = *(const Float4 *)(op.parts + (first + k) * op.parts_stride + column);
    sum.x = fmaf(weight, part.x, sum.x), sum.y = fmaf(weight, part.y, sum.y);
    sum.z = fmaf(weight, part.z, sum.z), sum.w = fmaf(weight, part.w, sum.w);
  }
  put(op.output, row, column, sum);
}
