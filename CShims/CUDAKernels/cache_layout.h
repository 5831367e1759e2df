// SPDX-License-Identifier: Apache-2.0
// What a cache keeps of a token, its row: parts behind each other. `H` heads, `k` columns of a key
// and `v` of a value; compressed keys are one head with `c` latent and `r` rotary columns, whose
// values are the latent ones.
//
//          bfloat16                     FP8 (each part begins at a multiple of 16 bytes)
//   heads  keys [H, k], values [H, v]   codes of keys [H, k] and of values [H, v], each head's
//                                       padded to 16; scales [H, 2] of each head's key and value
//   latent keys [c + r]                 codes [c]; scales [ceil(c / 128)], one for 128 columns;
//                                       rotary columns [r] as bfloat16
//
// So a key of DeepSeek-V3 takes 512 + 16 + 128 = 656 bytes in place of 1,152, a key and a value of
// a head of 128 columns 264 in place of 512. All of it is copied 16 bytes at a time.
//
// A number in FP8 is code · scale, the code e4m3 to nearest even. The scale, a 32-bit float, is the
// smallest power of two, from 2^-117 on, that keeps the largest magnitude within 448. So the
// product is exact in bfloat16, and attention is that over keys and values in bfloat16 that have
// fewer bits. That it is rounded up costs a bit of range at the small end, and no precision above.
// Where something is infinite or no number, the scale is no number. Codes lie in words of four, as
// those of weights do (`codes.h`).
#pragma once
#include <stdint.h>

enum {
  /// What parts in FP8 are padded to, in bytes: an asynchronous copy.
  cu_cache_piece = 16,
  /// Columns of a compressed key that share a scale: a warp's, four for each lane.
  cu_scale_columns = 128,
};

/// What keys and values are kept as.
typedef enum cu_cache_format {
  cu_cache_bf16 = 0,
  cu_cache_fp8 = 1,
} cu_cache_format;

/// The rows of a cache, and where the parts of each lie. All counts but columns are of bytes.
typedef struct cu_cache {
  uint8_t *rows;
  /// From one token to the next.
  int64_t stride;
  /// From one head's keys to the next one's, and of its values; 0: the values are the keys' first
  /// columns.
  int32_t key_bytes, value_bytes;
  int32_t value_place;
  /// In FP8, where scales begin, and columns of a key that stay bfloat16, behind its codes'.
  int32_t scale_place;
  int32_t plain_columns, plain_place;
} cu_cache;
