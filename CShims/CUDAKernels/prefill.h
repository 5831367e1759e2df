// SPDX-License-Identifier: Apache-2.0
// What the blocks of `prefill.cu` work on, and in which order.
#pragma once
#include "product.h"
#include "wgmma.h"

/// Sizes of a block's work on a weight in some format.
template <int format> struct PrefillShape {
  static constexpr bool has_codes = cu_takes_codes((cu_format)format);
  static constexpr bool has_scales = format != cu_format_bf16;
  static constexpr int fragments = Codes<format>::fragments;
  static constexpr int tiles = cu_prefill_rows / cu_tile_rows;
  /// Fragments of a span, of a group that shares a scale, and that are made at once.
  static constexpr int steps = cu_span / 16;
  static constexpr int group_steps = cu_scale_group((cu_format)format) / 16;
  static constexpr int chunk = group_steps < 4 ? group_steps : 4;
  static constexpr int groups = steps / group_steps;
  /// Bytes of a span: of a tile's codes, of its scales, of those that are in shared memory, of the
  /// tokens, of all.
  static constexpr int tile_bytes = steps / fragments * 512;
  static constexpr int scale_bytes = Span<format>::scale_bytes;
  static constexpr int factor_bytes = Span<format>::has_zeros ? scale_bytes : 0;
  static constexpr int token_bytes = cu_arranged_bytes((cu_format)format);
  static constexpr int stage_bytes = token_bytes + tiles * (tile_bytes + factor_bytes);
  /// Sums of the parts so far, in shared memory where registers have sums of groups too.
  static constexpr int total_bytes = has_scales ? cu_prefill_rows * cu_prefill_tokens * 4 : 0;
};

/// What a group's products are summed in.
template <int format> struct GroupSum { using Type = float; };
template <> struct GroupSum<cu_format_w8a8> { using Type = int32_t; };

/// Which of the stages, and how often they were gone through.
struct Stage {
  int index = 0;
  uint32_t parity = 0;

  DEVICE_MEMBER Stage next() const {
    const bool wraps = index + 1 == cu_prefill_stages;
    Stage stage;
    stage.index = wraps ? 0 : index + 1;
    stage.parity = parity ^ (wraps ? 1 : 0);
    return stage;
  }
};

/// Blocks of tokens that a matrix has without experts.
DEVICE int blocks_of_matrix(const cu_prefill &op) {
  const int tokens = op.product.step->counts[op.product.space];
  return (tokens + cu_prefill_tokens - 1) / cu_prefill_tokens;
}

/// Block of tokens `block`: with experts, a piece of work; of heads, those of each behind those of
/// the one before.
DEVICE Tokens prefill_tokens(const cu_prefill &op, int block) {
  if (op.product.order) {
    const cu_expert_work work = op.product.work[block];
    return {work.expert, work.first, work.count, op.product.order, op.product.slots_per_row};
  }
  const int matrix = op.matrices > 1 ? block / blocks_of_matrix(op) : 0;
  const int first = (block - matrix * blocks_of_matrix(op)) * cu_prefill_tokens;
  const int left = op.product.step->counts[op.product.space] - first;
  return {matrix, first, left < cu_prefill_tokens ? left : cu_prefill_tokens, nullptr, 1};
}

/// Those that there are: pieces of work behind the last are empty.
DEVICE int prefill_token_blocks(const cu_prefill &op) {
  if (!op.product.order) return blocks_of_matrix(op) * op.matrices;
  int first = 0, end = op.work_count;
  while (first < end) {
    const int middle = (first + end) / 2;
    if (op.product.work[middle].count > 0) first = middle + 1;
    else end = middle;
  }
  return first;
}

/// The blocks of rows and of tokens by turns: eight blocks of tokens, while their inputs are in the
/// second-level cache, go through all rows.
struct PrefillWalk {
  const cu_prefill &op;
  int row_blocks, token_blocks;
  int index;

  DEVICE_MEMBER PrefillWalk(const cu_prefill &op) : op(op) {
    const cu_product &product = op.product;
    const int rows = product.is_gated ? cu_prefill_rows / 2 : cu_prefill_rows;
    const int tiles = product.parts[product.is_gated ? 0 : product.part_count - 1].tiles_end;
    row_blocks = (tiles * cu_tile_rows + rows - 1) / rows;
    token_blocks = prefill_token_blocks(op);
    index = block_x();
  }
  DEVICE_MEMBER bool is_over() const { return index >= row_blocks * token_blocks; }
  DEVICE_MEMBER bool is_last() const { return index + grid_x() >= row_blocks * token_blocks; }
  DEVICE_MEMBER void advance() { index += grid_x(); }
  DEVICE_MEMBER int row_block() const { return within() / height(); }
  DEVICE_MEMBER int token_block() const { return band() * 8 + within() % height(); }
  DEVICE_MEMBER Tokens tokens() const { return prefill_tokens(op, token_block()); }

private:
  DEVICE_MEMBER int band() const { return index / (8 * row_blocks); }
  DEVICE_MEMBER int within() const { return index % (8 * row_blocks); }
  DEVICE_MEMBER int height() const {
    const int left = token_blocks - band() * 8;
    return left < 8 ? left : 8;
  }
};
