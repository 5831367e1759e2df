// SPDX-License-Identifier: Apache-2.0
// What the products of few and of many tokens share (`linear_few.cu`, `linear_many.cu`,
// `linear_coded.cu`): the layout of weights, the parts of their columns, and what happens on the
// way out.
//
//   output[n][m] = Σ_k weight[m][k] · input[n][k] + bias[m]
//
// for one matrix or for many (`z`: heads, experts), with tensor cores: weights are the 16-row
// operand, tokens the 8 columns.
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
//   w8    as fp8, codes of 8 bits with a sign: what `multiply_tile` takes of codes, in their order.
//   fp8a8  as w8, codes e4m3.
//   w4    64 columns a unit: for each fragment 4 bytes; register i of the fragment has its codes
//         (plus 8) in bits 4i to 4i + 3 and 16 + 4i to 16 + 4i + 3.
//   sparse  32 columns a unit: for each fragment 2 of 4 columns of row g, 2 of row g + 8.
//   int8  as w8, each code 128 less than it is.
//   int4  as w4, codes as they are.
// Scales: fp8 and fp8a8 one float for each tile and span; w8 and w4 a bfloat16 for each tile, group
// and row; sparse for each tile and span 8 bytes a lane, of row g and of row g + 8 a bit for each
// of its columns, set where it is kept; int8 and int4 for each tile and span a float for each row
// and group, then as many zeros (bytes, of int8 as its codes), both in the order [g][group][row g,
// row g + 8].
//
// Numbers. Codes, less their zeros, become bfloat16 exactly, inputs are bfloat16; a product is
// exact, sums are 32 bits. The sum of a scale's group is multiplied with the scale and added to the
// sum so far. With w8a8 and fp8a8, inputs are codes too: `coded_rows.h`.
//
// The same bits for any number of tokens: the columns are cut in 8 parts of whole spans, a part's
// spans are taken in order, and the parts' sums are added in order. Nothing of this depends on the
// tokens, so that every kernel has the same bits.
#pragma once
#include "coded_rows.h"
#include "codes.h"

#if defined(CU_ONE_LAUNCH)
template <int format, int tiles>
constexpr int stages_of = cu_launch_stages((cu_format)format, tiles);
#else
template <int format, int tiles> constexpr int stages_of = cu_stages((cu_format)format, tiles);
#endif

/// A lane's share of one span of a tile: `units` times 16 bytes, and its scales.
template <int format> struct Span {
  static constexpr int fragments = Codes<format>::fragments;
  static constexpr int units = cu_span / 16 / fragments;
  static constexpr int bytes = units * 512;
  /// Groups that share a scale, and scales of a lane: of its row g and of its row g + 8.
  static constexpr int groups = cu_span / cu_scale_group((cu_format)format);
  static constexpr int scales = format == cu_format_bf16 || format == cu_format_sparse ? 0
    : cu_has_block_scales((cu_format)format) ? 1 : 2;
  static constexpr int scale_bytes = cu_span_scale_bytes((cu_format)format);
  static constexpr bool has_zeros = cu_has_zeros((cu_format)format);
};

/// `sum += scale · part`, of the lane's rows g and g + 8.
DEVICE void add_scaled(float low, float high, float (&part)[4], float (&sum)[4]) {
  UNROLL for (int i = 0; i < 4; i++) {
    sum[i] += (i < 2 ? low : high) * part[i];
    part[i] = 0;
  }
}

/// A lane's scales of a span of a tile, and what they do.
template <int format, bool has_zeros = Span<format>::has_zeros> struct Scales {
  using S = Span<format>;
  /// A float, or for each group two bfloat16: of the lane's row g, and of its row g + 8 above it.
  uint32_t words[S::groups];

  /// Of a span of a tile whose scales begin at `factors`.
  DEVICE_MEMBER void load(const uint8_t *factors, int span) {
    if constexpr (S::scales == 1) words[0] = ((const uint32_t *)factors)[span];
    if constexpr (S::scales == 2) {
      UNROLL for (int group = 0; group < S::groups; group++) {
        const uint16_t *pair = (const uint16_t *)factors
          + (span * S::groups + group) * cu_tile_rows + thread_index() % 32 / 4;
        words[group] = pair[0] | (uint32_t)pair[8] << 16;
      }
    }
  }

  DEVICE_MEMBER void fragment(int, const Words4 &words, int index, uint32_t (&a)[4]) const {
    Codes<format>::fragment(words, index, a);
  }

  DEVICE_MEMBER void promote(int group, float (&part)[4], float (&sum)[4]) const {
    const uint32_t word = words[group];
    const float low = float_of(S::scales == 1 ? word : word << 16);
    const float high = float_of(S::scales == 1 ? word : word & 0xffff0000u);
    add_scaled(low, high, part, sum);
  }

  /// Of codes with codes; `inputs` are the scales of the lane's two tokens.
  DEVICE_MEMBER void promote(const Float2 &inputs, const int32_t (&part)[4],
                             float (&sum)[4]) const {
    const float low = float_of(words[0] << 16), high = float_of(words[0] & 0xffff0000u);
    add_codes(low, high, inputs, part, sum);
  }
};

/// Masks in place of scales: of the lane's row g, and of its row g + 8, four bits a fragment.
template <> struct Scales<cu_format_sparse, false> {
  using S = Span<cu_format_sparse>;
  Words2 masks;

  DEVICE_MEMBER void load(const uint8_t *factors, int span) {
    masks = ((const Words2 *)(factors + (int64_t)span * S::scale_bytes))[thread_index() % 32];
  }

  DEVICE_MEMBER void fragment(int group, const Words4 &words, int index, uint32_t (&a)[4]) const {
    const uint32_t of_rows[2] = {masks.x >> (4 * group) & 15, masks.y >> (4 * group) & 15};
    Codes<cu_format_sparse>::fragment(words, index, of_rows, a);
  }

  DEVICE_MEMBER void promote(int, float (&)[4], float (&)[4]) const {}
};

/// With zeros.
template <int format> struct Scales<format, true> {
  using S = Span<format>;
  /// Of each group, of the lane's row g, and of its row g + 8.
  Float2 scales[S::groups];
  /// The same, 16 bits for each group.
  uint32_t zeros[(S::groups + 1) / 2];

  DEVICE_MEMBER void load(const uint8_t *factors, int span) {
    const uint8_t *of_span = factors + (int64_t)span * S::scale_bytes;
    const int row = thread_index() % 32 / 4;
    const float *floats = (const float *)of_span + row * S::groups * 2;
    const uint8_t *bytes = of_span + S::scale_bytes / 5 * 4 + row * S::groups * 2;
    if constexpr (S::groups == 1) {
      scales[0] = *(const Float2 *)floats;
      zeros[0] = *(const uint16_t *)bytes;
    } else {
      UNROLL for (int i = 0; i < S::groups / 2; i++) {
        const Float4 *four = (const Float4 *)floats + i;
        scales[2 * i].x = four->x, scales[2 * i].y = four->y;
        scales[2 * i + 1].x = four->z, scales[2 * i + 1].y = four->w;
        zeros[i] = ((const uint32_t *)bytes)[i];
      }
    }
  }

  DEVICE_MEMBER void fragment(int group, const Words4 &words, int index, uint32_t (&a)[4]) const {
    const uint32_t two = zeros[group / 2] >> (group % 2 * 16);
    const uint32_t of_rows[2] = {Codes<format>::zero(two, 0), Codes<format>::zero(two, 1)};
    Codes<format>::fragment(words, index, of_rows, a);
  }

  DEVICE_MEMBER void promote(int group, float (&part)[4], float (&sum)[4]) const {
    add_scaled(scales[group].x, scales[group].y, part, sum);
  }
};

DEVICE int spans_of(const cu_product &op) { return (op.inner + cu_span - 1) / cu_span; }

/// The spans of one of the 8 parts of the columns.
struct Part {
  int first, end;
};

DEVICE Part part_of_columns(int spans, int index) {
  const int count = (spans + cu_product_warps - 1) / cu_product_warps;
  const int first = index * count < spans ? index * count : spans;
  return {first, first + count < spans ? first + count : spans};
}

/// What a block multiplies: some tokens with a matrix. A token is a slot where there are experts.
struct Tokens {
  int matrix, first, count;
  const int32_t *order;
  int slots_per_row;

  DEVICE_MEMBER int slot(int index) const { return order ? order[first + index] : first + index; }
};

/// - Parameter z: which matrix, or with experts which piece of work.
DEVICE Tokens tokens_of_block(const cu_product &op, int z, int tokens_max) {
  if (op.order) {
    const cu_expert_work work = op.work[z];
    return {work.expert, work.first, work.count, op.order, op.slots_per_row};
  }
  const int first = block_y() * tokens_max, left = op.step->counts[op.space] - first;
  return {z, first, left < tokens_max ? left : tokens_max, nullptr, 1};
}

DEVICE int64_t input_index(const Tokens &tokens, int index) {
  const int slot = tokens.slot(index);
  return tokens.slots_per_row > 1 ? slot / tokens.slots_per_row : slot;
}

/// The input row of a block's token; null beyond the last.
DEVICE const uint16_t *input_row(const cu_product &op, const Tokens &tokens, int index) {
  if (index >= tokens.count) return nullptr;
  return (const uint16_t *)op.input + tokens.matrix * op.input_matrix
    + input_index(tokens, index) * op.input_stride;
}

/// The same of codes.
DEVICE const uint8_t *coded_row(const cu_product &op, const Tokens &tokens, int index) {
  if (index >= tokens.count) return nullptr;
  return (const uint8_t *)op.input + input_index(tokens, index) * op.input_stride;
}

/// The same of floats.
DEVICE const float *float_row(const cu_product &op, const Tokens &tokens, int index) {
  if (index >= tokens.count) return nullptr;
  return (const float *)op.input + input_index(tokens, index) * op.input_stride;
}

/// 16 rows of one part of a weight; `exists` is false for those behind the last.
struct Tile {
  const cu_product_part *part;
  int index;
  bool exists;

  DEVICE_MEMBER const uint8_t *codes(const cu_product &op, int matrix, int span_bytes) const {
    return part->codes + matrix * op.codes_matrix + (int64_t)index * spans_of(op) * span_bytes;
  }
  DEVICE_MEMBER const uint8_t *scales(const cu_product &op, int matrix, int span_bytes) const {
    return (const uint8_t *)part->scales + matrix * op.scales_matrix
      + (int64_t)index * spans_of(op) * span_bytes;
  }
};

/// Tile `slot` of the `count` of a block; of a gated unit the gate's come first, then the other's.
DEVICE Tile tile_of(const cu_product &op, int block, int slot, int count) {
  int index = block * count + slot, part = 0, begin = 0;
  if (op.is_gated) {
    part = slot / (count / 2);
    index = block * (count / 2) + slot % (count / 2);
  } else {
    while (part + 1 < op.part_count && index >= op.parts[part].tiles_end) {
      begin = op.parts[part++].tiles_end;
    }
  }
  const int end = op.is_gated ? op.parts[0].tiles_end : op.parts[part].tiles_end;
  // Behind the last: computed again and not written.
  return {&op.parts[part], (index < end ? index : end - 1) - begin, index < end};
}

DEVICE Tile tile_of_block(const cu_product &op, int slot, int count) {
  return tile_of(op, block_x(), slot, count);
}

/// What comes of an output's sum, and of the sum that a gate opens, on its way out: with zeros for
/// biases and addends that are not there.
DEVICE float outcome(const cu_product &op, float value, float other, const float (&biases)[2],
                     const float (&addends)[cu_product_addends_max]) {
  value += biases[0];
  if (op.is_gated) value = open_gate(value, other + biases[1]);
  UNROLL for (int i = 0; i < cu_product_addends_max; i++) value = addends[i] + value;
  return value;
}

DEVICE void load_biases(const cu_product &op, const Tile &tile, int column, float (&biases)[2]) {
  biases[0] = tile.part->bias ? tile.part->bias[column] : 0.f;
  biases[1] = op.is_gated && op.parts[1].bias ? op.parts[1].bias[column] : 0.f;
}

/// The weighted sum of what a row's experts give, of one column: the bits of `combine_experts`.
DEVICE float combined(const cu_product &op, int row, int column) {
  const cu_choice *choices = op.choices + (int64_t)row * op.top_k;
  const float *parts = op.addends[0] + (int64_t)row * op.top_k * op.addend_strides[0] + column;
  float sum = 0;
  UNROLL_BY(8) for (int k = 0; k < op.top_k; k++) {
    sum = fmaf(choices[k].weight, parts[k * op.addend_strides[0]], sum);
  }
  return sum;
}

/// Writes one output.
///
/// - Parameter combines: whether an addend may be what experts give.
template <bool combines = false>
DEVICE void finish(const cu_product &op, const Tile &tile, const Tokens &tokens, int token,
                   int column, float value, float other) {
  const int slot = tokens.slot(token);
  float biases[2], addends[cu_product_addends_max];
  load_biases(op, tile, column, biases);
  UNROLL for (int i = 0; i < cu_product_addends_max; i++) {
    addends[i] = combines && i == 0 && op.choices ? combined(op, slot, column)
      : op.addends[i] ? op.addends[i][slot * op.addend_strides[i] + column] : 0.f;
  }
  put(tile.part->output, slot, tokens.matrix * op.output_matrix + column,
      outcome(op, value, other, biases, addends));
}
