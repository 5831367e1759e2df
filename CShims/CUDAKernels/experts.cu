// SPDX-License-Identifier: Apache-2.0
// Mixture of experts around the products of `linear.cu`.
//   group    sorts the slots (row · top_k + rank) by expert, those of an expert in order, so that
//            each expert's weights are read once for all its tokens.
//   combine  output[r] = Σ_k weight_k · part[r · top_k + k], in order of rank.
#include "device.h"

// Grid: one block. A thread takes experts in turn and walks over all slots: short at decoding.
KERNEL(group_experts, cu_group, cu_threads) {
  SHARED int32_t counts[cu_experts_max + 1];
  const int slots = op.step->counts[0] * op.top_k;
  for (int expert = thread_index(); expert < op.experts; expert += cu_threads) {
    int count = 0;
    for (int slot = 0; slot < slots; slot++) count += op.choices[slot].expert == expert;
    counts[expert] = count;
  }
  sync_block();
  if (thread_index() == 0) {
    int start = 0;
    for (int expert = 0; expert < op.experts; expert++) {
      const int count = counts[expert];
      op.starts[expert] = counts[expert] = start;
      start += count;
    }
    op.starts[op.experts] = start;
  }
  sync_block();
  for (int expert = thread_index(); expert < op.experts; expert += cu_threads) {
    int place = counts[expert];
    for (int slot = 0; slot < slots; slot++) {
      if (op.choices[slot].expert == expert) op.order[place++] = slot;
    }
  }
}

// Grid: rows.
KERNEL(combine_experts, cu_combine, cu_threads) {
  const int row = block_x();
  if (row >= op.step->counts[0]) return;
  for (int column = thread_index(); column < op.width; column += cu_threads) {
    float sum = 0;
    for (int k = 0; k < op.top_k; k++) {
      const int64_t slot = (int64_t)row * op.top_k + k;
      sum += op.choices[slot].weight * op.parts[slot * op.parts_stride + column];
    }
    op.output[row * op.output_stride + column] = sum;
  }
}
