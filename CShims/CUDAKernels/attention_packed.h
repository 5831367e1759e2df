// SPDX-License-Identifier: Apache-2.0
// Tiles of a cache in FP8: copied to shared memory as they are, and made a tile of bfloat16 when
// the one before is no longer in use. Each warp does both with 8 keys of its own, so that it waits
// for nobody in between.
//
// Of a key, a packed tile has codes, those of its value, four scales, and columns in bfloat16, each
// part in whole copies of 16 bytes.
#pragma once
#include "attention_tile.h"
#include "cache_codes.h"

/// Where the parts of a packed tile's keys are, in bytes.
struct PackedTile {
  uint8_t *keys;
  int scales, plain, plain_bytes, stride;

  DEVICE_MEMBER PackedTile(const cu_attention &op, const TilePlaces &places, int stage) {
    scales = op.cache.key_bytes + op.cache.value_bytes;
    plain = scales + cu_cache_piece;
    plain_bytes = padded(2 * op.cache.plain_columns, cu_cache_piece);
    stride = plain + plain_bytes;
    // Behind the tile in use.
    keys = (uint8_t *)places.keys(1) + stage * cu_tile_keys * stride;
  }
};

/// Begins to copy whole pieces. Eight threads call it together.
DEVICE void fetch_pieces(bool is_there, uint8_t *to, const uint8_t *from, int bytes) {
  for (int i = thread_index() % 8 * cu_cache_piece; i < bytes; i += 8 * cu_cache_piece) {
    begin_copy(to + i, from + i, is_there);
  }
}

/// As `fetch_tile`.
DEVICE void fetch_packed(const cu_attention &op, const TilePlaces &places, int key_head, int stage,
                         const int64_t *rows, int count) {
  const PackedTile tile(op, places, stage);
  const cu_cache &cache = op.cache;
  UNROLL for (int i = 0; i < 2; i++) {
    const int key = thread_index() / 32 * 8 + i * 4 + thread_index() % 32 / 8;
    const bool is_there = key < count;
    const uint8_t *row = cache.rows + (is_there ? rows[key] * cache.stride : 0);
    uint8_t *to = tile.keys + key * tile.stride;
    fetch_pieces(is_there, to, row + key_head * cache.key_bytes, cache.key_bytes);
    fetch_pieces(is_there, to + cache.key_bytes,
                 row + cache.value_place + key_head * cache.value_bytes, cache.value_bytes);
    // Two floats of each head: two heads a piece.
    fetch_pieces(is_there, to + tile.scales,
                 row + cache.scale_place + key_head / 2 * cu_cache_piece, cu_cache_piece);
    fetch_pieces(is_there, to + tile.plain, row + cache.plain_place, tile.plain_bytes);
  }
}

/// Columns from codes, each 128 by the next of their scales; zeros behind them. Sixteen threads
/// call it together: those of eight then write to different banks.
DEVICE void unpack_row(uint16_t *to, int width, const uint8_t *codes, int code_bytes,
                       const float *scales, int scale_step) {
  for (int column = thread_index() % 16 * 8; column < width; column += cu_scale_columns) {
    Words4 values = {0, 0, 0, 0};
    if (column < code_bytes) values = cached_values(*(const Words2 *)(codes + column), *scales);
    *(Words4 *)(to + column) = values;
    scales += scale_step;
  }
}

/// Columns in bfloat16, likewise; from a place that is perhaps not aligned.
DEVICE void unpack_plain(uint16_t *to, const uint16_t *from, int first, int columns) {
  const int lane = thread_index() % 16;
  if (first % 8 == 0 && columns % 8 == 0) {
    for (int i = lane * 8; i < columns; i += 128) {
      *(Words4 *)(to + first + i) = *(const Words4 *)(from + i);
    }
    return;
  }
  for (int i = lane; i < columns; i += 16) to[first + i] = from[i];
}

/// Makes the tile in use of a packed one that is there: of the 8 keys that the warp has copied.
DEVICE void unpack(const cu_attention &op, const TilePlaces &places, int key_head, int stage) {
  const PackedTile tile(op, places, stage);
  const int first_scale = key_head % 2 * 2, plain_columns = op.cache.plain_columns;
  // A head's keys have one scale, compressed ones several.
  const int scale_step = places.value_stride ? 0 : 1;
  for (int i = 0; i < 4; i++) {
    const int key = thread_index() / 32 * 8 + i * 2 + thread_index() % 32 / 16;
    const uint8_t *from = tile.keys + key * tile.stride;
    const float *scales = (const float *)(from + tile.scales) + first_scale;
    uint16_t *to = places.keys(0) + key * places.key_stride;
    unpack_row(to, places.key_stride - cu_bank_columns, from, op.cache.key_bytes, scales,
               scale_step);
    if (places.value_stride) {
      unpack_row(places.values(0) + key * places.value_stride,
                 places.value_stride - cu_bank_columns, from + op.cache.key_bytes,
                 op.cache.value_bytes, scales + 1, 0);
    }
    if (plain_columns == 0) continue;
    // Behind the codes, of which the last are padding.
    sync_warp();
    unpack_plain(to, (const uint16_t *)(from + tile.plain), op.key_width - plain_columns,
                 plain_columns);
  }
}
