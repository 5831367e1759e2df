// SPDX-License-Identifier: Apache-2.0
// Matrix products of 8-bit activations and 8- or 4-bit weights: kernels of all tiles
// (`body_tile.h`), and how rows are cut into these.
#pragma once
#include "body_tile.h"
#include "kernels.h"

/// Inner indices of one pass, whole groups: a unit's weights stay in L2, a tile's codes in L1.
enum { CODE_BLOCK = 1536 };

typedef void (*multiply_code_kernel)(
    const ck_gemm *, const code_tile *, const uint8_t *, int64_t, int64_t, int64_t, int64_t,
    int64_t);

/// Kept apart from each other, one for each shape, so that registers are assigned to each alone.
#define DEFINE_CODE_ROWS(rows, source, use)                                                \
  static __attribute__((noinline)) void multiply_##rows##_##source##_##use(                \
      const ck_gemm *g, const code_tile *t, const uint8_t *weights, int64_t stride,        \
      int64_t panel, int64_t end, int64_t from, int64_t to) {                              \
    multiply_code_rows(g, t, rows, source, use, weights, stride, panel, end, from, to);    \
  }
#define NAME_CODE_ROWS(rows, source, use) multiply_##rows##_##source##_##use,

// `X(rows, source, use)` for 1 up to so many rows: the numbers that levels may choose.
#define CODE_ROWS_2(X, source, use) X(1, source, use) X(2, source, use)
#define CODE_ROWS_4(X, source, use) CODE_ROWS_2(X, source, use) X(3, source, use) X(4, source, use)
#define CODE_ROWS_6(X, source, use) CODE_ROWS_4(X, source, use) X(5, source, use) X(6, source, use)
#define CODE_ROWS_10(X, source, use)                                                       \
  CODE_ROWS_6(X, source, use) X(7, source, use) X(8, source, use) X(9, source, use)        \
  X(10, source, use)
#define CODE_ROWS_TO(count, X, source, use) CODE_ROWS_##count(X, source, use)
#define EACH_CODE_ROWS(count, X, source, use) CODE_ROWS_TO(count, X, source, use)
#define EACH_BYTE_ROWS(X, source)                                                          \
  EACH_CODE_ROWS(CK_CODE_ROWS, X, source, ALONE) EACH_CODE_ROWS(CK_BLOCK_ROWS, X, source, TOGETHER)
#define EACH_NIBBLE_ROWS(X, source)                                                        \
  EACH_CODE_ROWS(CK_NIBBLE_ROWS, X, source, ALONE)                                         \
  EACH_CODE_ROWS(CK_NIBBLE_ROWS, X, source, TOGETHER)

EACH_BYTE_ROWS(DEFINE_CODE_ROWS, BYTES)
EACH_NIBBLE_ROWS(DEFINE_CODE_ROWS, NIBBLES)
EACH_BYTE_ROWS(DEFINE_CODE_ROWS, STORED_BYTES)
EACH_NIBBLE_ROWS(DEFINE_CODE_ROWS, STORED_NIBBLES)
EACH_BYTE_ROWS(DEFINE_CODE_ROWS, BYTES_BY_PARTS)
EACH_BYTE_ROWS(DEFINE_CODE_ROWS, STORED_BYTES_BY_PARTS)
EACH_NIBBLE_ROWS(DEFINE_CODE_ROWS, STORED_NIBBLES_BY_PARTS)

#define NAME_BYTES(source)                                                                 \
  {{EACH_CODE_ROWS(CK_CODE_ROWS, NAME_CODE_ROWS, source, ALONE)},                          \
   {EACH_CODE_ROWS(CK_BLOCK_ROWS, NAME_CODE_ROWS, source, TOGETHER)}}
#define NAME_NIBBLES(source)                                                               \
  {{EACH_CODE_ROWS(CK_NIBBLE_ROWS, NAME_CODE_ROWS, source, ALONE)},                        \
   {EACH_CODE_ROWS(CK_NIBBLE_ROWS, NAME_CODE_ROWS, source, TOGETHER)}}

/// By source, use, and rows less one: as many as the level multiplies at once from there.
static const multiply_code_kernel code_kernels[CODE_SOURCES][2][CODE_ROWS] = {
  [BYTES] = NAME_BYTES(BYTES),
  [NIBBLES] = NAME_NIBBLES(NIBBLES),
  [STORED_BYTES] = NAME_BYTES(STORED_BYTES),
  [STORED_NIBBLES] = NAME_NIBBLES(STORED_NIBBLES),
  [BYTES_BY_PARTS] = NAME_BYTES(BYTES_BY_PARTS),
  [STORED_BYTES_BY_PARTS] = NAME_BYTES(STORED_BYTES_BY_PARTS),
  [STORED_NIBBLES_BY_PARTS] = NAME_NIBBLES(STORED_NIBBLES_BY_PARTS),
};

/// What tile `i` of `tiles` asks for: the last ones share the weights that come `next`, one or two
/// panels each.
INLINE void look_ahead(
    code_tile *tile, int64_t i, int64_t tiles, int64_t panels, const uint8_t *weights,
    const uint8_t *next, int64_t stride) {
  const int64_t sharing = tiles < panels ? tiles : panels, first = i - (tiles - sharing);
  const int64_t second = first + sharing < panels ? first + sharing : first;
  tile->looks = first >= 0;
  tile->ahead[0] = next - weights + first * stride;
  tile->ahead[1] = next - weights + second * stride;
}

/// All rows by some panels over the inner indices `from ..< to`, in tiles of at most `most` rows.
/// `next` are the weights that come after these.
static void multiply_code_block(
    const ck_gemm *g, const code_source source, int64_t most, const uint8_t *weights,
    const uint8_t *next, int64_t stride, int64_t panel, int64_t end, int64_t from, int64_t to) {
  const int64_t rows = *g->rows, width = g->codes.group_count * CK_CODE_GROUP;
  // Tiles of almost one size: a remainder of few rows would cost nearly as much as a full tile.
  const int64_t tiles = (rows + most - 1) / most;
  const tile_use use = tiles == 1 ? ALONE : TOGETHER;
  for (int64_t i = 0, row = 0, count; i < tiles; i++, row += count) {
    count = (rows - row + tiles - i - 1) / (tiles - i);
    code_tile tile;
    look_ahead(&tile, i, tiles, tile_panels(source, use, (int)count), weights, next, stride);
    for (int64_t r = 0; r < count; r++) {
      const int64_t in = g->input_rows ? g->input_rows[row + r] : row + r;
      const int64_t out = g->output_rows ? g->output_rows[row + r] : row + r;
      tile.codes[r] = g->codes.codes + in * width;
      tile.groups[r] = g->codes.groups + in * g->codes.group_count;
      tile.outputs[r] = g->output + out * g->output_stride;
    }
    code_kernels[source][use][count - 1](g, &tile, weights, stride, panel, end, from, to);
  }
}

INLINE code_source source_of(const ck_gemm *g) {
  const int in_parts = g->codes.in_parts;
  switch (g->type) {
    case CK_W4: return NIBBLES;
    case CK_INT8: return in_parts ? STORED_BYTES_BY_PARTS : STORED_BYTES;
    case CK_INT4: return in_parts ? STORED_NIBBLES_BY_PARTS : STORED_NIBBLES;
    default: return in_parts ? BYTES_BY_PARTS : BYTES;
  }
}

/// All rows by the panels of one unit, which are read from memory once. Few rows are one tile over
/// all of k; more go block by block, so that all tiles find weights and codes in caches.
/// `next_panels` are those of the unit that comes after this one.
static void multiply_code_unit(
    const ck_gemm *g, int64_t panel, int64_t end, const void *next_panels) {
  const code_source source = source_of(g);
  const int nibbles = has_nibbles(source), bytes = nibbles ? CK_PANEL / 2 : CK_PANEL;
  const int64_t inner = ck_padded_inner(g->inner), rows = *g->rows;
  const int64_t most = nibbles ? CK_NIBBLE_ROWS
                               : rows <= CK_CODE_ROWS ? CK_CODE_ROWS : CK_BLOCK_ROWS;
  const int64_t block = rows <= most ? inner : CODE_BLOCK;
  const uint8_t *weights = (const uint8_t *)g->panels + panel * inner * bytes;
  for (int64_t from = 0; from < inner; from += block) {
    const int64_t to = from + block < inner ? from + block : inner;
    const uint8_t *next = to < inner ? weights + to * bytes : next_panels;
    multiply_code_block(
        g, source, most, weights + from * bytes, next, inner * bytes, panel, end, from, to);
  }
}
