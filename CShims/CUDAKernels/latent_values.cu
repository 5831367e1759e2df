// SPDX-License-Identifier: Apache-2.0
// What each head makes of the latents that few rows attended to (`linear_few.cu`), where the keys
// were cut in parts: its blocks fold the parts themselves, in the order and with the bits of
// `attention_merge.cu`. It saves that kernel and the border behind it, and each block reads its
// head's parts, 32 KiB a row of V2-Lite behind 1,024 keys.

namespace {

/// A head's rows in shared memory, bfloat16 as the product reads them, zeros up to whole spans.
struct MergedRows {
  const cu_attention &op;
  char *const rows;
  const int spans, stride;
  /// That the first row sees, which is most often the only one: known before the kernels in front
  /// are done.
  const int first_keys;

  DEVICE_MEMBER MergedRows(const cu_attention &op, char *rows)
      : op(op), rows(rows), spans((op.value_width + cu_span - 1) / cu_span),
        stride(cu_normed_row_bytes(cu_format_bf16, spans)),
        first_keys(held_keys(op.step, load_now(op.step->positions))) {}

  DEVICE_MEMBER const char *row(int index, int count) const {
    return made_row(rows, stride, index, count);
  }

  /// All threads call it.
  DEVICE_MEMBER void fill(int head, int count) const {
    for (int row = 0; row < count; row++) {
      const int keys = row == 0 ? first_keys : held_keys(op.step, op.step->positions[row]);
      for (int column = 2 * thread_index(); column < spans * cu_span; column += 2 * cu_threads) {
        attention_::Merge<1> merge = {op, row, head, column, {}, {}};
        if (column < part_width(op)) merge.run(keys);
        const float factor = inverse_sum(merge.total[0].scores);
        const Float2 &values = merge.total[0].values;
        *(uint32_t *)(rows + row * stride + 2 * column) =
          bf16_pair(column < op.value_width ? values.x * factor : 0,
                    column + 1 < op.value_width ? values.y * factor : 0);
      }
    }
    sync_block();
  }
};

}  // namespace

// Grid: tiles of a head's rows; 1; heads. Shared memory: that of the product, and rows.
EARLY_KERNEL(latent_values_few, cu_latent_values, cu_threads) {
  using Block = linear_few_::Few<cu_format_bf16, 1, linear_few_::NormedInputs<cu_format_bf16>>;
  DYNAMIC_SHARED(char, shared);
  const Part part = part_of_columns(spans_of(op.product), thread_index() / 32);
  Block block(op.product, shared);
  block.find(block_x(), block_z());
  block.begin(part);
  const Tokens tokens = tokens_of_block(op.product, block_z(), cu_few_tokens);
  const MergedRows rows(op.attention, shared + Block::ring_bytes);
  wait_for_previous();
  rows.fill(block_z(), tokens.count);
  block.inputs.find(rows, tokens.count);
  block.run(part);
  if (tokens.count > 0) write_sums(op.product, block.sum, tokens, block_x());
}
