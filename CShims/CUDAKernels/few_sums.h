// SPDX-License-Identifier: Apache-2.0
// How the sums of a block of few tokens go out, of which each warp has a part of the columns.
#pragma once
#include "product.h"

/// The sums of each part.
template <int tiles>
using PartSums = float[cu_product_warps][cu_few_tokens][tiles * cu_tile_rows];

/// Adds the parts' sums of eight tokens from `first` on, and writes their outputs. All threads call
/// it; `sums` is shared, and nobody's. What experts give is added by products that are not gated.
template <int tiles, bool combines = tiles == 1>
DEVICE void write_sums(const cu_product &op, const float (&sum)[tiles][4], const Tokens &tokens,
                       int block, int first, PartSums<tiles> &sums) {
  const int lane = thread_index() % 32, warp = thread_index() / 32;
  UNROLL for (int i = 0; i < tiles; i++) {
    UNROLL for (int j = 0; j < 4; j++) {
      sums[warp][lane % 4 * 2 + j % 2][i * cu_tile_rows + lane / 4 + j / 2 * 8] = sum[i][j];
    }
  }
  sync_block();
  const int index = thread_index(), token = index / cu_tile_rows, row = index % cu_tile_rows;
  if (token >= cu_few_tokens || first + token >= tokens.count) return;
  const Tile tile = tile_of(op, block, 0, tiles);
  const int column = tile.index * cu_tile_rows + row;
  if (column >= tile.part->columns) return;
  float total[tiles] = {};
  UNROLL for (int i = 0; i < tiles; i++) {
    UNROLL for (int w = 0; w < cu_product_warps; w++) {
      total[i] += sums[w][token][i * cu_tile_rows + row];
    }
  }
  finish<combines>(op, tile, tokens, first + token, column, total[0], total[tiles - 1]);
}

/// The same with memory of its own.
template <int tiles>
DEVICE void write_sums(const cu_product &op, const float (&sum)[tiles][4], const Tokens &tokens,
                       int block, int first = 0) {
  SHARED PartSums<tiles> sums;
  write_sums<tiles>(op, sum, tokens, block, first, sums);
}
