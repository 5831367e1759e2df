// SPDX-License-Identifier: Apache-2.0
// output[n][m] = Σ_k weight[m][k] · input[n][k] + bias[m], for one matrix or for many (`z`: heads,
// experts), with tensor cores: weights are the 16-row operand, tokens the 8 columns.
//
// Shapes: weight [columns, inner] packed as below, input [tokens, inner], output [tokens, columns].
// The weight may have up to three parts, each with its place. What follows can be done on the way
// out: the gate of a gated unit (two parts), sums with other rows (a residual).
//
// Layout. 16 rows of a weight are a tile. Behind each other lie, for each tile, units of 512 bytes:
// 16 bytes a lane, whole fragments of `multiply_tile`. Columns are padded to whole spans of 128
// with zeros. Of 16 columns that a fragment takes, lane 4g + t has columns 4t to 4t + 3 of rows g
// and g + 8: an order of k like any other, as long as both operands have it; so a token's inputs
// are 8 bytes that lie together.
//   bf16  16 columns a unit: 8 elements in the order of the fragment.
//   fp8   32 columns a unit: for each fragment 4 codes e4m3 of row g, 4 of row g + 8.
//   w8    as fp8, codes of 8 bits with a sign.
//   w4    64 columns a unit: for each fragment 4 bytes; register i of the fragment has its codes
//         (plus 8) in bits 4i to 4i + 3 and 16 + 4i to 16 + 4i + 3.
// Scales: fp8 one float for each tile and span; w8 and w4 a bfloat16 for each tile, group and row.
//
// Numbers. Codes become bfloat16 exactly, inputs are bfloat16; a product is exact, sums are 32
// bits. The sum of a scale's group is multiplied with the scale and added to the sum so far.
//
// The same bits for any number of tokens: a block's 8 warps take the columns in 8 parts of whole
// spans, in order, and the parts' sums are added in order. Nothing of this depends on the tokens.
//
// A warp asks for the next columns' weights before it computes with these, and for its first
// before the kernels in front are done: what it waits for at last is a token's inputs only.
//
// Ladder: the first version read weights and inputs of a span, then computed with them, a tile a
// block, inputs split in two bfloat16. Now: weights ahead, two tiles a block where inputs are many,
// so that these are read half as often. Not yet: inputs in shared memory.
#include "codes.h"

namespace {

/// Chunks of columns that a warp has in registers: 4 units, or a span.
template <int format> struct Chunk {
  static constexpr int fragments = Codes<format>::fragments;
  static constexpr int units = format == cu_format_w4 ? 2 : 4;
  static constexpr int columns = units * fragments * 16;
  static constexpr int of_span = cu_span / columns;
  /// Groups that share a scale, and scales of a lane: of its row g and of its row g + 8.
  static constexpr int groups = format == cu_format_w4 ? 4 : 1;
  static constexpr int scales = format == cu_format_bf16 ? 0 : format == cu_format_fp8 ? 1 : 2;

  Words4 words[units];
  float low[groups], high[groups];

  /// Chunk `index` of a tile whose codes begin at `codes` and whose scales begin at `factors`.
  DEVICE_MEMBER void load(const uint8_t *codes, const uint8_t *factors, int index) {
    const int lane = thread_index() % 32;
    UNROLL for (int u = 0; u < units; u++) {
      words[u] = load_once(codes + ((int64_t)index * units + u) * 512 + lane * 16);
    }
    if constexpr (scales == 1) low[0] = high[0] = ((const float *)factors)[index];
    if constexpr (scales == 2) {
      UNROLL for (int group = 0; group < groups; group++) {
        const uint16_t *pair = (const uint16_t *)factors
          + (index * groups + group) * cu_tile_rows + lane / 4;
        low[group] = float_of_bf16(pair[0]), high[group] = float_of_bf16(pair[8]);
      }
    }
  }
};

/// Four neighbouring inputs.
DEVICE Words2 load_inputs(const cu_product &op, const uint16_t *row, int k) {
  if (!row) return {0, 0};
  if (op.input_is_aligned && k + 4 <= op.inner) return *(const Words2 *)(row + k);
  uint32_t x[4];
  UNROLL for (int i = 0; i < 4; i++) x[i] = k + i < op.inner ? row[k + i] : 0;
  return {x[0] | x[1] << 16, x[2] | x[3] << 16};
}

/// What the rows of a block's tokens are; a token is a slot where there are experts.
struct Tokens {
  int first, count;
  const int32_t *order;
  int slots_per_row;

  DEVICE_MEMBER int slot(int index) const { return order ? order[first + index] : first + index; }
};

DEVICE Tokens tokens_of_block(const cu_product &op, int tokens_max) {
  int start = 0, end = op.step->counts[op.space];
  if (op.order) start = op.starts[block_z()], end = op.starts[block_z() + 1];
  Tokens tokens;
  tokens.first = start + block_y() * tokens_max;
  const int left = end - tokens.first;
  tokens.count = left < tokens_max ? left : tokens_max;
  tokens.order = op.order;
  tokens.slots_per_row = op.order ? op.slots_per_row : 1;
  return tokens;
}

/// 16 rows of one part of a weight.
struct Tile {
  const cu_product_part *part;
  int index;
};

/// Tile `slot` of the block's `count`; of a gated unit the gate's and then the other's.
DEVICE Tile tile_of_block(const cu_product &op, int slot, int count) {
  if (op.is_gated) return {&op.parts[slot], block_x()};
  int index = block_x() * count + slot, part = 0, begin = 0;
  while (part + 1 < op.part_count && index >= op.parts[part].tiles_end) {
    begin = op.parts[part++].tiles_end;
  }
  // Beyond the last: computed again and not written.
  const int end = op.parts[part].tiles_end;
  return {&op.parts[part], (index < end ? index : end - 1) - begin};
}

/// A warp's part of the columns: sums of some tiles and up to `8 * groups` tokens.
template <int format, int groups, int tiles> struct Product {
  using Columns = Chunk<format>;

  const cu_product &op;
  const uint8_t *codes[tiles], *factors[tiles];
  const uint16_t *rows[groups];
  Tokens tokens;
  int chunk, end;
  float sum[tiles][groups][4], part[tiles][groups][4];

  DEVICE_MEMBER Product(const cu_product &op) : op(op) {
    const int spans = (op.inner + cu_span - 1) / cu_span;
    const int of_warp = (spans + cu_product_warps - 1) / cu_product_warps;
    const int first = thread_index() / 32 * of_warp;
    const int last = first + of_warp < spans ? first + of_warp : spans;
    chunk = first * Columns::of_span, end = last * Columns::of_span;
    constexpr int tile_bytes = Columns::units * Columns::of_span * 512;
    constexpr int scale_bytes =
      Columns::scales == 1 ? 4 : Columns::scales * Columns::groups * cu_tile_rows;
    UNROLL for (int i = 0; i < tiles; i++) {
      const Tile tile = tile_of_block(op, i, tiles);
      codes[i] = tile.part->codes + block_z() * op.codes_matrix
        + (int64_t)tile.index * spans * tile_bytes;
      factors[i] = (const uint8_t *)tile.part->scales + block_z() * op.scales_matrix
        + (int64_t)tile.index * spans * scale_bytes;
      UNROLL for (int g = 0; g < groups; g++) {
        UNROLL for (int j = 0; j < 4; j++) sum[i][g][j] = part[i][g][j] = 0;
      }
    }
  }

  DEVICE_MEMBER void load(Columns (&columns)[tiles], int index) const {
    if (index >= end) return;
    UNROLL for (int i = 0; i < tiles; i++) columns[i].load(codes[i], factors[i], index);
  }

  DEVICE_MEMBER void find_rows() {
    const int lane = thread_index() % 32;
    UNROLL for (int g = 0; g < groups; g++) {
      const int index = g * 8 + lane / 4;
      rows[g] = nullptr;
      if (index >= tokens.count) continue;
      rows[g] = op.input + block_z() * op.input_matrix
        + tokens.slot(index) / tokens.slots_per_row * op.input_stride;
    }
  }

  DEVICE_MEMBER void multiply(const Columns (&columns)[tiles], int index) {
    if (index >= end) return;
    constexpr int count = Columns::units * Columns::fragments, of_group = count / Columns::groups;
    UNROLL for (int f = 0; f < count; f++) {
      uint32_t a[tiles][4];
      UNROLL for (int i = 0; i < tiles; i++) {
        Codes<format>::fragment(
          columns[i].words[f / Columns::fragments], f % Columns::fragments, a[i]);
      }
      const int k = index * Columns::columns + f * 16 + thread_index() % 4 * 4;
      UNROLL for (int g = 0; g < groups; g++) {
        if (g * 8 >= tokens.count) continue;
        const Words2 x = load_inputs(op, rows[g], k);
        UNROLL for (int i = 0; i < tiles; i++) {
          multiply_tile(Columns::scales == 0 ? sum[i][g] : part[i][g], a[i], x.x, x.y);
        }
      }
      if (Columns::scales > 0 && f % of_group == of_group - 1) promote(columns, f / of_group);
    }
  }

  /// `sum += scale · part`, of the rows of this lane.
  DEVICE_MEMBER void promote(const Columns (&columns)[tiles], int group) {
    UNROLL for (int i = 0; i < tiles; i++) {
      UNROLL for (int g = 0; g < groups; g++) {
        UNROLL for (int j = 0; j < 4; j++) {
          sum[i][g][j] += (j < 2 ? columns[i].low : columns[i].high)[group] * part[i][g][j];
          part[i][g][j] = 0;
        }
      }
    }
  }
};

/// Sums of the warps: `[token][row of the block's tiles]`.
template <int tiles> using Sums = float[cu_product_warps][8][tiles * cu_tile_rows];

template <int tiles> DEVICE float total(const Sums<tiles> &sums, const cu_product_part &part,
                                        int token, int row, int column) {
  float total = 0;
  UNROLL for (int w = 0; w < cu_product_warps; w++) total += sums[w][token][row];
  return part.bias ? total + part.bias[column] : total;
}

/// Adds the warps' sums of 8 tokens, and writes what comes of them.
template <int tiles>
DEVICE void finish(const cu_product &op, const Tokens &tokens, int first, const Sums<tiles> &sums) {
  const int outputs = op.is_gated ? cu_tile_rows : tiles * cu_tile_rows;
  const int count = tokens.count - first < 8 ? tokens.count - first : 8;
  for (int index = thread_index(); index < count * outputs; index += cu_threads) {
    const int token = index / outputs, row = index % outputs;
    const Tile tile = tile_of_block(op, row / cu_tile_rows, tiles);
    const cu_product_part &part = *tile.part;
    const int column = tile.index * cu_tile_rows + row % cu_tile_rows;
    const bool is_new = op.is_gated || block_x() * tiles + row / cu_tile_rows
        < op.parts[op.part_count - 1].tiles_end;
    if (column >= part.columns || !is_new) continue;
    const int slot = tokens.slot(first + token);
    float value = total<tiles>(sums, part, token, row, column);
    if (op.is_gated) {
      const float other = total<tiles>(sums, op.parts[1], token, cu_tile_rows + row, column);
      value = value / (1 + expf(-value)) * other;
    }
    UNROLL for (int i = 0; i < cu_product_addends_max; i++) {
      if (op.addends[i]) value = op.addends[i][slot * op.addend_strides[i] + column] + value;
    }
    put(part.output, slot, block_z() * op.output_matrix + column, value);
  }
}

template <int format, int groups, int tiles> DEVICE void product(const cu_product &op) {
  Product<format, groups, tiles> product(op);
  // Which tokens an expert has is known only later.
  if (op.order) wait_for_previous();
  product.tokens = tokens_of_block(op, groups * 8);
  if (product.tokens.count <= 0) return;
  Chunk<format> even[tiles], odd[tiles];
  product.load(even, product.chunk);
  wait_for_previous();
  product.find_rows();
  // Two tiles of 64 tokens leave no registers for more weights.
  constexpr bool is_ahead = groups * tiles < 16;
  for (int chunk = product.chunk; chunk < product.end; chunk += is_ahead ? 2 : 1) {
    if (is_ahead) product.load(odd, chunk + 1);
    product.multiply(even, chunk);
    if (!is_ahead) product.load(even, chunk + 1);
    if (is_ahead) product.load(even, chunk + 2), product.multiply(odd, chunk + 1);
  }
  SHARED Sums<tiles> sums;
  const int lane = thread_index() % 32, warp = thread_index() / 32;
  UNROLL for (int g = 0; g < groups; g++) {
    if (g * 8 >= product.tokens.count) continue;
    if (g > 0) sync_block();
    UNROLL for (int i = 0; i < tiles; i++) {
      UNROLL for (int j = 0; j < 4; j++) {
        sums[warp][lane % 4 * 2 + j % 2][i * cu_tile_rows + lane / 4 + j / 2 * 8] =
          product.sum[i][g][j];
      }
    }
    sync_block();
    finish<tiles>(op, product.tokens, g * 8, sums);
  }
}

}  // namespace

// Grid: tiles of 16 rows of the weight's parts, one or two a block; tokens in parts of the kernel's
// number; matrices.
#define PRODUCT(name, format, tokens)                                                       \
  EARLY_KERNEL(product_##name##_##tokens, cu_product, cu_threads) {                         \
    product<format, tokens / 8, 1>(op);                                                     \
  }                                                                                         \
  EARLY_KERNEL(product_##name##_##tokens##_2, cu_product, cu_threads) {                     \
    product<format, tokens / 8, 2>(op);                                                     \
  }
#define PRODUCTS(name, format)   \
  PRODUCT(name, format, 8)       \
  PRODUCT(name, format, 16)      \
  PRODUCT(name, format, 32)      \
  PRODUCT(name, format, 64)

PRODUCTS(bf16, cu_format_bf16)
PRODUCTS(fp8, cu_format_fp8)
PRODUCTS(w8, cu_format_w8)
PRODUCTS(w4, cu_format_w4)
