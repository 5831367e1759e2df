// SPDX-License-Identifier: Apache-2.0
// Where codes lie that are packed; the layout is in `product.h`.
#pragma once
#include "codes.h"

/// Where four neighbouring codes of 8 bits lie; see `product.h`.
template <typename Arguments>
DEVICE uint32_t &word8(const Arguments &op, int row, int column) {
  const int within = row % cu_tile_rows;
  const int lane = within % 8 * 4 + column % 16 / 4;
  const int64_t unit =
    (int64_t)(row / cu_tile_rows) * (op.padded_columns / 32) + column / 32;
  return ((uint32_t *)op.codes)[unit * 128 + lane * 4 + column % 32 / 16 * 2 + within / 8];
}

/// Likewise of 4 bits, of rows `row` and `row + 8`; and where in it a column of one of them is.
template <typename Arguments>
DEVICE uint32_t &word4(const Arguments &op, int row, int column) {
  const int lane = row % 8 * 4 + column % 16 / 4;
  const int64_t unit = (int64_t)(row / cu_tile_rows) * (op.padded_columns / 64) + column / 64;
  return ((uint32_t *)op.codes)[unit * 128 + lane * 4 + column % 64 / 16];
}
DEVICE int shift4(int half, int column) {
  return (column % 4 / 2 * 2 + half) * 4 + column % 2 * 16;
}
