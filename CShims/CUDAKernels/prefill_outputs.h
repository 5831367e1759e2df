// SPDX-License-Identifier: Apache-2.0
// How the results of a block of `prefill.cu` go out: through shared memory, since neighbouring rows
// of a token are written together.
#pragma once
#include "prefill.h"

constexpr int math_threads = 256, math_warps = math_threads / 32;
constexpr int half_tokens = cu_prefill_tokens / 2;
/// Floats from one token to the next where results change hands; not all in one bank.
constexpr int result_stride = cu_prefill_rows + 4;

template <int format> struct PrefillOutputs {
  using Shape = PrefillShape<format>;
  /// Tokens that a warp writes of a half.
  static constexpr int of_warp = half_tokens / math_warps;

  const cu_prefill &op;
  float *results;

  /// The results change hands, so that neighbouring rows of a token are written together.
  DEVICE_MEMBER void write(const float (&sum)[2][32], const PrefillWalk &walk) {
    const int lane = thread_index() % 32, row = thread_index() / 32 * 16 + lane / 4;
    UNROLL for (int half = 0; half < 2; half++) {
      sync_first<math_threads>();
      UNROLL for (int i = 0; i < 32; i++) {
        const int token = i / 4 * 8 + lane % 4 * 2 + i % 2;
        results[token * result_stride + row + i % 4 / 2 * 8] = sum[half][i];
      }
      sync_first<math_threads>();
      write_half(walk.row_block(), walk.tokens(), half * half_tokens);
    }
    if (Shape::has_scales) sync_first<math_threads>();
  }

  /// A warp takes every eighth token, a lane each 32nd row. What is added to a row's outputs is
  /// asked for before any is written: a block has too few warps to wait for each.
  DEVICE_MEMBER void write_half(int row_block, const Tokens &tokens, int first) {
    const cu_product &product = op.product;
    const int rows = product.is_gated ? cu_prefill_rows / 2 : cu_prefill_rows;
    int slots[of_warp];
    UNROLL for (int i = 0; i < of_warp; i++) {
      const int token = first + thread_index() / 32 + i * math_warps;
      slots[i] = token < tokens.count ? tokens.slot(token) : -1;
    }
    for (int row = thread_index() % 32; row < rows; row += 32) {
      const Tile tile = tile_of(product, row_block, row / cu_tile_rows, Shape::tiles);
      const int column = tile.index * cu_tile_rows + row % cu_tile_rows;
      if (!tile.exists || column >= tile.part->columns) continue;
      float values[of_warp];
      outcomes(tile, slots, row, column, values);
      put_column(tile.part->output, slots, tokens.matrix * product.output_matrix + column, values);
    }
  }

  /// Of a row of results and a warp's tokens.
  DEVICE_MEMBER void outcomes(const Tile &tile, const int (&slots)[of_warp], int row, int column,
                              float (&values)[of_warp]) {
    const cu_product &product = op.product;
    float biases[2], addends[of_warp][cu_product_addends_max] = {};
    load_biases(product, tile, column, biases);
    UNROLL for (int a = 0; a < cu_product_addends_max; a++) {
      if (!product.addends[a]) continue;
      const float *addend = product.addends[a] + column;
      UNROLL for (int i = 0; i < of_warp; i++) {
        if (slots[i] >= 0) addends[i][a] = addend[slots[i] * product.addend_strides[a]];
      }
    }
    const float *result = results + thread_index() / 32 * result_stride + row;
    UNROLL for (int i = 0; i < of_warp; i++, result += math_warps * result_stride) {
      const float other = product.is_gated ? result[cu_prefill_rows / 2] : 0.f;
      values[i] = outcome(product, result[0], other, biases, addends[i]);
    }
  }

  /// One column of a warp's tokens.
  DEVICE_MEMBER void put_column(const cu_rows &rows, const int (&slots)[of_warp], int64_t column,
                                const float (&values)[of_warp]) {
    if (rows.floats) {
      UNROLL for (int i = 0; i < of_warp; i++) {
        if (slots[i] >= 0) rows.floats[slots[i] * rows.stride + column] = values[i];
      }
    }
    if (!rows.narrow) return;
    UNROLL for (int i = 0; i < of_warp; i++) {
      if (slots[i] >= 0) rows.narrow[slots[i] * rows.stride + column] = bf16_bits(values[i]);
    }
  }
};
