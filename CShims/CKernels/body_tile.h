// SPDX-License-Identifier: Apache-2.0
// Register tiles of products of 8-bit activations and 8- or 4-bit weights. Within a group of inner
// indices the sum is one of integers, exact in any order; groups are added in order in f32. So
// neither tiles, nor cuts of k, nor how a weight lies in memory change a bit.
//
// With activations x = s · a and weights w = t · (u - o) in a group (a signed, u unsigned, o the
// offset that makes codes unsigned):  Σ x w = s t (Σ a u - o Σ a).  The quantiser counted Σ a.
#pragma once
#include "dot.h"
#include "kernels.h"
#include "vector.h"

/// The most accumulators and rows of a tile.
enum { CODE_TILE = CK_CODE_TILE };
enum { CODE_ROWS = CK_CODE_ROWS > CK_NIBBLE_ROWS ? CK_CODE_ROWS : CK_NIBBLE_ROWS };

/// How far ahead of a tile that is alone its weights are asked for, into the second level of
/// caches, which waits for more lines at once than the first; and its scales, into the first.
enum { PREFETCH_BYTES = 8192, SCALE_PREFETCH_BYTES = 512 };

/// A tile that has all rows goes through its panels one after the other, which is one stream of
/// memory to its end, and asks for what comes. Several over the same weights multiply more panels
/// at once, and the last of them ask for the weights that come next.
typedef enum { ALONE, TOGETHER } tile_use;

/// What a tile reads its weights from.
typedef enum {
  BYTES,    // W8 as stored: `[k / 4][16 columns][4]`, groups of 128
  NIBBLES,  // W4 as stored: `[k / 8][16 columns][4]`, low k … k + 3, high the next; groups of 32
  STORED_BYTES,    // INT8: a checkpoint's own codes, groups and zeros
  STORED_NIBBLES,  // INT4 as W4 lies
  // The same, by activations whose parts have scales of their own. W4 is always summed by parts.
  BYTES_BY_PARTS,
  STORED_BYTES_BY_PARTS,
  STORED_NIBBLES_BY_PARTS,
  CODE_SOURCES
} code_source;

typedef struct {
  const int8_t *codes[CODE_ROWS];
  const ck_code_group *groups[CODE_ROWS];
  float *outputs[CODE_ROWS];
  /// Whether a tile together with others looks ahead, and where: from a line of the first panel.
  int looks;
  int64_t ahead[2];
} code_tile;

INLINE int is_by_parts(const code_source source) { return source >= BYTES_BY_PARTS; }

INLINE int is_stored(const code_source source) {
  return source != BYTES && source != NIBBLES && source != BYTES_BY_PARTS;
}

INLINE int has_nibbles(const code_source source) {
  return source == NIBBLES || source == STORED_NIBBLES || source == STORED_NIBBLES_BY_PARTS;
}

INLINE int is_w8(const code_source source) { return source == BYTES || source == BYTES_BY_PARTS; }

/// Inner indices that share a scale of the weights.
INLINE int64_t scale_group(const ck_gemm *g, const code_source source) {
  if (is_stored(source)) return g->factors.group;
  return is_w8(source) ? CK_CODE_GROUP : CK_W4_GROUP;
}

/// Inner indices whose integer sum is multiplied by scales: those that share both.
INLINE int64_t sum_group(const ck_gemm *g, const code_source source) {
  const int64_t weights = scale_group(g, source);
  const int64_t codes = is_by_parts(source) ? CK_CODE_PART : CK_CODE_GROUP;
  return weights < codes ? weights : codes;
}

INLINE int64_t scale_groups(const ck_gemm *g, const code_source source) {
  const int64_t group = scale_group(g, source);
  return (g->inner + group - 1) / group;
}

/// Σ a of the inner indices from `k` on, `group` of them, of the activations' group that has them.
INLINE int32_t sum_of_codes(const ck_code_group *codes, int64_t k, int64_t group) {
  int32_t sum = 0;
  for (int64_t part = k % CK_CODE_GROUP / CK_CODE_PART, i = 0; i < group / CK_CODE_PART; i++)
    sum += codes->sums[part + i];
  return sum;
}

INLINE int32_t load_word(const int8_t *codes) {
  int32_t word;
  memcpy(&word, codes, sizeof word);
  return word;
}

/// Four inner indices of `rows` × `panels`.
INLINE void multiply_words(
    const code_tile *t, const int rows, const int panels, const v64u *w, int64_t k,
    v16i *sums) {
  weight_words words[4];
#pragma clang loop unroll(full)
  for (int p = 0; p < panels; p++) words[p] = prepare_weights(w[p]);
#pragma clang loop unroll(full)
  for (int r = 0; r < rows; r++) {
    const code_words x = prepare_codes(load_word(t->codes[r] + k));
#pragma clang loop unroll(full)
    for (int p = 0; p < panels; p++) sums[r * panels + p] = dot4(sums[r * panels + p], words[p], x);
  }
}

/// The integer sums of inner indices `from ..< to` of one group. `weights` are those of `from`.
INLINE void multiply_group(
    const code_tile *t, const int rows, const int panels, const code_source source,
    const tile_use use, const uint8_t *weights, int64_t stride, int64_t from, int64_t to,
    v16i *sums) {
  const int step = has_nibbles(source) ? 8 : 4;
  const int looks = t->looks;
  for (int64_t k = from; k < to; k += step, weights += 64) {
    v64u w[4];
#pragma clang loop unroll(full)
    for (int p = 0; p < panels; p++) {
      w[p] = load_bytes(weights + p * stride);
      if (use == ALONE) __builtin_prefetch(weights + p * stride + PREFETCH_BYTES, 0, 2);
    }
    if (use == TOGETHER && looks) {
      __builtin_prefetch(weights + t->ahead[0], 0, 2);
      __builtin_prefetch(weights + t->ahead[1], 0, 2);
    }
    if (!has_nibbles(source)) {
      multiply_words(t, rows, panels, w, k, sums);
      continue;
    }
    v64u low[4], high[4];
#pragma clang loop unroll(full)
    for (int p = 0; p < panels; p++) {
      low[p] = low_nibbles(w[p]);
      high[p] = high_nibbles(w[p]);
    }
    multiply_words(t, rows, panels, low, k, sums);
    multiply_words(t, rows, panels, high, k + 4, sums);
  }
}

/// What the inner indices `from ..< to`, which share the weights' scales, add to the results but
/// for these scales: integer sums times the scales of activations.
INLINE void multiply_chunk(
    const ck_gemm *g, const code_tile *t, const int rows, const int panels,
    const code_source source, const tile_use use, const uint8_t *weights, int64_t stride,
    const uint8_t *zeros, int64_t zero_stride, int64_t from, int64_t to, v16f *products) {
  const int64_t group = sum_group(g, source);
  const int offset = is_w8(source) ? 128 : 8;
  const int bytes = has_nibbles(source) ? CK_PANEL / 2 : CK_PANEL;  // of one inner index
  if (is_by_parts(source))
#pragma clang loop unroll(full)
    for (int i = 0; i < rows * panels; i++) products[i] = splat(0);
  for (int64_t k = from; k < to; k += group, weights += group * bytes) {
    const int64_t end = k + group < to ? k + group : to;
    v16i sums[CODE_TILE];
#pragma clang loop unroll(full)
    for (int r = 0; r < rows; r++) {
      const int32_t sum = sum_of_codes(&t->groups[r][k / CK_CODE_GROUP], k, group);
#pragma clang loop unroll(full)
      for (int p = 0; p < panels; p++)
        sums[r * panels + p] = is_stored(source)
            ? load_code_zeros(zeros + p * zero_stride) * -sum : (v16i)(-offset * sum);
    }
    multiply_group(t, rows, panels, source, use, weights, stride, k, end, sums);
#pragma clang loop unroll(full)
    for (int r = 0; r < rows; r++) {
      const v16f x =
          splat(t->groups[r][k / CK_CODE_GROUP].scales[k % CK_CODE_GROUP / CK_CODE_PART]);
#pragma clang loop unroll(full)
      for (int p = 0; p < panels; p++) {
        v16f *product = &products[r * panels + p];
        const v16f sum = __builtin_convertvector(sums[r * panels + p], v16f);
        *product = is_by_parts(source) ? fma16(sum, x, *product) : sum * x;
      }
    }
  }
}

/// The scales of a panel's columns in a group.
INLINE v16f scale_at(const ck_gemm *g, const code_source source, int64_t factor) {
  if (is_stored(source)) return load(g->factors.scales + factor);
  const uint16_t *scales = g->scales + factor;
  if (has_nibbles(source)) __builtin_prefetch((const char *)scales + SCALE_PREFETCH_BYTES, 0, 3);
  return load_bf16(scales);
}

/// One register tile over the inner indices `from ..< to`, whole groups but the last. `weights` are
/// those of the first panel and `from`, `stride` bytes before those of the next panel.
INLINE void multiply_codes(
    const ck_gemm *g, const code_tile *t, const int rows, const int panels,
    const code_source source, const tile_use use, const uint8_t *weights, int64_t stride,
    int64_t panel, int64_t from, int64_t to) {
  const int64_t shared = scale_group(g, source);
  const int64_t chunk = shared < CK_CODE_GROUP ? shared : CK_CODE_GROUP;
  const int bytes = has_nibbles(source) ? CK_PANEL / 2 : CK_PANEL;  // of one inner index
  const int64_t scale_stride = scale_groups(g, source) * CK_PANEL;
  // Of the first panel and the group that holds `from`.
  int64_t factor = panel * scale_stride + from / shared * CK_PANEL;
  int64_t left_of_group = shared - from % shared;
  v16f totals[CODE_TILE];
#pragma clang loop unroll(full)
  for (int r = 0; r < rows; r++)
#pragma clang loop unroll(full)
    for (int p = 0; p < panels; p++) {
      const int64_t column = (panel + p) * CK_PANEL;
      totals[r * panels + p] =
          from == 0 ? splat(0) : load_some(t->outputs[r] + column, g->columns - column);
    }
  for (int64_t k = from; k < to; k += chunk) {
    v16f products[CODE_TILE];
    multiply_chunk(
        g, t, rows, panels, source, use, weights + (k - from) * bytes, stride,
        is_stored(source) ? g->factors.zeros + factor : NULL, scale_stride, k,
        k + chunk < to ? k + chunk : to, products);
    v16f scale[4];
#pragma clang loop unroll(full)
    for (int p = 0; p < panels; p++)
      scale[p] = scale_at(g, source, factor + p * scale_stride);
#pragma clang loop unroll(full)
    for (int r = 0; r < rows; r++)
#pragma clang loop unroll(full)
      for (int p = 0; p < panels; p++)
        totals[r * panels + p] = fma16(products[r * panels + p], scale[p], totals[r * panels + p]);
    left_of_group -= chunk;
    if (left_of_group > 0) continue;
    factor += CK_PANEL;
    left_of_group = shared;
  }
  const int with_bias = g->bias != NULL && to >= g->inner;
#pragma clang loop unroll(full)
  for (int r = 0; r < rows; r++)
#pragma clang loop unroll(full)
    for (int p = 0; p < panels; p++) {
      const int64_t column = (panel + p) * CK_PANEL, left = g->columns - column;
      if (with_bias) totals[r * panels + p] += load_some(g->bias + column, left);
      store_some(t->outputs[r] + column, totals[r * panels + p], left);
    }
}

/// Panels of a tile of so many rows.
INLINE int tile_panels(const code_source source, const tile_use use, const int rows) {
  (void)rows;  // some levels have one width for all
  if (use == ALONE) return CK_ALONE_PANELS(rows);
  return has_nibbles(source) ? CK_NIBBLE_PANELS(rows) : CK_BLOCK_PANELS(rows);
}

/// `rows` rows by the panels `panel ..< end`.
INLINE void multiply_code_rows(
    const ck_gemm *g, const code_tile *t, const int rows, const code_source source,
    const tile_use use, const uint8_t *weights, int64_t stride, int64_t panel, int64_t end,
    int64_t from, int64_t to) {
  const int wide = tile_panels(source, use, rows);
  for (; panel + wide <= end; panel += wide, weights += wide * stride)
    multiply_codes(g, t, rows, wide, source, use, weights, stride, panel, from, to);
  for (; panel < end; panel++, weights += stride)
    multiply_codes(g, t, rows, 1, source, use, weights, stride, panel, from, to);
}
