// SPDX-License-Identifier: Apache-2.0
// output[n][m] = Σ_k weight[m][k] · input[n][k] + bias[m], for one matrix or for many (`z`: heads,
// experts), with tensor cores: weights are the 16-row operand, tokens the 8 columns.
//
// Shapes: weight [columns, inner] packed as below, input [tokens, inner], output [tokens, columns].
//
// Layout. 16 rows of a weight are a tile. Behind each other lie, for each tile, units of 512 bytes:
// 16 bytes a lane, whole fragments of `multiply_tile`. Columns are padded to whole spans of 128
// with zeros. Of 16 columns that a fragment takes, lane 4g + t has columns 4t to 4t + 3 of rows g
// and g + 8: an order of k like any other, as long as both operands have it; so a token's inputs
// are 16 bytes that lie together.
//   bf16  16 columns a unit: 8 elements in the order of the fragment.
//   fp8   32 columns a unit: for each fragment 4 codes e4m3 of row g, 4 of row g + 8.
//   w8    as fp8, codes of 8 bits with a sign.
//   w4    64 columns a unit: for each fragment 4 bytes; register i of the fragment has its codes
//         (plus 8) in bits 4i to 4i + 3 and 16 + 4i to 16 + 4i + 3.
// Scales: fp8 one float for each tile and span; w8 and w4 a bfloat16 for each tile, group and row.
//
// Numbers. Codes become bfloat16 exactly. Inputs are split in two bfloat16, high and low, so that
// 16 bits of each take part; a product is exact, sums are 32 bits. The sum of a scale's group is
// multiplied with the scale and added to the sum so far.
//
// The same bits for any number of tokens: a block takes one tile; its warp w takes spans w, w + 8,
// ... in order, and the warps' sums are added in order. Nothing of this depends on the tokens. That
// is why there is no other kernel for few tokens: its sums would be other sums.
//
// Ladder: this is the first version. Not yet: several tiles a block for many tokens (inputs are
// read again for every tile), loads of the next span before the sums of this one, wgmma.
#include "codes.h"

namespace {

/// Four neighbouring inputs as high and low bfloat16, in the order of a fragment.
struct Inputs { uint32_t high[2], low[2]; };

DEVICE Inputs split(const float (&x)[4]) {
  Inputs inputs;
  UNROLL for (int i = 0; i < 2; i++) {
    const uint32_t high = bf16_pair(x[2 * i], x[2 * i + 1]);
    inputs.high[i] = high;
    inputs.low[i] = bf16_pair(
      x[2 * i] - float_of(high << 16), x[2 * i + 1] - float_of(high & 0xffff0000u));
  }
  return inputs;
}

DEVICE void load_inputs(const cu_product &op, const float *row, int k, float (&x)[4]) {
  if (row && op.input_is_aligned && k + 4 <= op.inner) {
    const Float4 four = *(const Float4 *)(row + k);
    x[0] = four.x, x[1] = four.y, x[2] = four.z, x[3] = four.w;
    return;
  }
  UNROLL for (int i = 0; i < 4; i++) x[i] = row && k + i < op.inner ? row[k + i] : 0.f;
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

template <int format> DEVICE float scale_of(const cu_product &op, const uint8_t *scales, int tile,
                                            int span, int group, int row) {
  const int spans = (op.inner + cu_span - 1) / cu_span;
  if (format == cu_format_fp8) return ((const float *)scales)[tile * spans + span];
  const int groups = spans * (cu_span / op.group);
  const int index = (tile * groups + span * (cu_span / op.group) + group) * cu_tile_rows + row;
  return float_of_bf16(((const uint16_t *)scales)[index]);
}

/// `sum += scale · part`, of the rows of this lane.
template <int format, int tiles>
DEVICE void promote(const cu_product &op, const uint8_t *scales, int span, int group,
                    float (&part)[tiles][4], float (&sum)[tiles][4]) {
  const int row = thread_index() % 32 / 4;
  const float low = scale_of<format>(op, scales, block_x(), span, group, row);
  const float high = scale_of<format>(op, scales, block_x(), span, group, row + 8);
  UNROLL for (int t = 0; t < tiles; t++) {
    UNROLL for (int i = 0; i < 4; i++) {
      sum[t][i] += (i < 2 ? low : high) * part[t][i];
      part[t][i] = 0;
    }
  }
}

/// A warp's sums over its spans, of the block's tile and up to `8 * tiles` tokens.
template <int format, int tiles>
DEVICE void multiply(const cu_product &op, const Tokens &tokens, float (&sum)[tiles][4]) {
  constexpr int fragments = Codes<format>::fragments, units = cu_span / 16 / fragments;
  const int lane = thread_index() % 32, warp = thread_index() / 32;
  const int spans = (op.inner + cu_span - 1) / cu_span;
  const uint8_t *codes = op.codes + block_z() * op.codes_matrix
    + (int64_t)block_x() * spans * units * 512 + lane * 16;
  const uint8_t *scales = (const uint8_t *)op.scales + block_z() * op.scales_matrix;
  const float *rows[tiles];
  UNROLL for (int t = 0; t < tiles; t++) {
    const int index = t * 8 + lane / 4;
    rows[t] = nullptr;
    if (index < tokens.count) {
      rows[t] = op.input + block_z() * op.input_matrix
        + tokens.slot(index) / tokens.slots_per_row * op.input_stride;
    }
  }
  float part[tiles][4] = {};
  for (int span = warp; span < spans; span += cu_product_warps) {
    Words4 words[units];
    UNROLL for (int u = 0; u < units; u++) {
      words[u] = load_once(codes + ((int64_t)span * units + u) * 512);
    }
    UNROLL for (int f = 0; f < units * fragments; f++) {
      uint32_t a[4];
      Codes<format>::fragment(words[f / fragments], f % fragments, a);
      const int k = span * cu_span + f * 16 + lane % 4 * 4;
      UNROLL for (int t = 0; t < tiles; t++) {
        if (t * 8 >= tokens.count) continue;
        float x[4];
        load_inputs(op, rows[t], k, x);
        const Inputs b = split(x);
        float(&target)[4] = format == cu_format_bf16 ? sum[t] : part[t];
        multiply_tile(target, a, b.low[0], b.low[1]);
        multiply_tile(target, a, b.high[0], b.high[1]);
      }
      const bool ends_group = format == cu_format_w4 ? (f + 1) * 16 % op.group == 0
                                                     : f + 1 == units * fragments;
      if (format != cu_format_bf16 && ends_group) {
        const int group = format == cu_format_w4 ? f * 16 / op.group : 0;
        promote<format, tiles>(op, scales, span, group, part, sum);
      }
    }
  }
}

template <int format, int tiles> DEVICE void product(const cu_product &op) {
  const Tokens tokens = tokens_of_block(op, tiles * 8);
  if (tokens.count <= 0) return;
  float sum[tiles][4] = {};
  multiply<format, tiles>(op, tokens, sum);
  SHARED float sums[cu_product_warps][tiles * 8][cu_tile_rows];
  const int lane = thread_index() % 32, warp = thread_index() / 32;
  UNROLL for (int t = 0; t < tiles; t++) {
    UNROLL for (int i = 0; i < 4; i++) {
      sums[warp][t * 8 + lane % 4 * 2 + i % 2][lane / 4 + i / 2 * 8] = sum[t][i];
    }
  }
  sync_block();
  for (int index = thread_index(); index < tokens.count * cu_tile_rows; index += cu_threads) {
    const int token = index / cu_tile_rows, row = index % cu_tile_rows;
    const int column = block_x() * cu_tile_rows + row;
    if (column >= op.columns) continue;
    float total = 0;
    UNROLL for (int w = 0; w < cu_product_warps; w++) total += sums[w][token][row];
    if (op.bias) total += op.bias[column];
    op.output[block_z() * op.output_matrix + tokens.slot(token) * op.output_stride + column] =
      total;
  }
}

}  // namespace

// Grid: tiles of 16 rows of the weight; tokens in parts of the kernel's number; matrices.
#define PRODUCT(name, format)                                                        \
  KERNEL(product_##name##_8, cu_product, cu_threads) { product<format, 1>(op); }     \
  KERNEL(product_##name##_16, cu_product, cu_threads) { product<format, 2>(op); }    \
  KERNEL(product_##name##_32, cu_product, cu_threads) { product<format, 4>(op); }    \
  KERNEL(product_##name##_64, cu_product, cu_threads) { product<format, 8>(op); }

PRODUCT(bf16, cu_format_bf16)
PRODUCT(fp8, cu_format_fp8)
PRODUCT(w8, cu_format_w8)
PRODUCT(w4, cu_format_w4)
