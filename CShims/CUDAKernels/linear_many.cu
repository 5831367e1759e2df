// SPDX-License-Identifier: Apache-2.0
// Products of up to 64 tokens a block (`product.h`): batches. A warp of a block takes a tile of 16
// rows (half of them of a gate, half of what it opens); the warps walk the columns together, the
// tokens' inputs in shared memory. How many warps a block has is the host's choice: so many that
// the GPU is full to the end (`ProductShape.swift`).
//
// Where there are too few rows to fill it, blocks take some of the columns' 8 parts each and leave
// the parts' sums in memory; `sum_parts` adds them in order. Else a block takes all parts.
//
// Bound by memory up to some 32 tokens, then by the tensor cores: 32 products of tiles for 2 KiB of
// 8-bit codes. Codes and inputs are copied to shared memory some spans ahead, codes before the
// kernels in front are done.
//
// Ladder (gate and up of Qwen-7B in FP8, 32 tokens, H100): a part of the columns a warp and inputs
// from the caches for every two tiles, 457 GB/s; inputs read once for 8 tiles 1,417, in which the
// last of 1.1 rounds of blocks took as long as the first; blocks of a size that fits 1,980.
#include "product.h"

namespace {

/// Threads of a block at most.
template <int format> constexpr int threads_max = 32 * cu_many_warps((cu_format)format);

DEVICE int block_warps() { return block_threads() / 32; }

template <int format, int groups> struct Many {
  using S = Span<format>;
  static constexpr int stages = stages_of<format, 1>;
  static constexpr int count = S::units * S::fragments, of_group = count / S::groups;
  static constexpr int input_stride = cu_shared_input_bytes((cu_format)format);
  static constexpr int inputs_bytes = groups * 8 * input_stride;

  const cu_product &op;
  const Tokens &tokens;
  int warp, lane;
  Words4 *codes_ring;
  char *inputs_ring;
  const uint8_t *codes, *factors;
  Scales<format> scales;
  float sum[groups][4];

  DEVICE_MEMBER Many(const cu_product &op, const Tokens &tokens, char *shared)
      : op(op), tokens(tokens), warp(thread_index() / 32),
        lane(thread_index() % 32) {
    codes_ring = (Words4 *)(shared + warp * stages * S::bytes) + lane;
    inputs_ring = shared + block_warps() * stages * S::bytes;
    const Tile tile = tile_of_block(op, warp, block_warps());
    codes = tile.codes(op, tokens.matrix, S::bytes) + lane * 16;
    factors = tile.scales(op, tokens.matrix, S::scale_bytes);
  }

  DEVICE_MEMBER void copy_codes(int span, int end) const {
    if (span >= end) return;
    Words4 *place = codes_ring + span % stages * S::units * 32;
    UNROLL for (int u = 0; u < S::units; u++) {
      begin_copy(place + u * 32, codes + (int64_t)span * S::bytes + u * 512, true);
    }
  }

  /// All tokens' inputs of a span, zeros beyond the last token and column.
  DEVICE_MEMBER void copy_inputs(int span, int end) {
    if (span >= end) return;
    char *stage = inputs_ring + span % stages * inputs_bytes;
    if constexpr (cu_takes_codes((cu_format)format)) copy_coded(stage, span);
    else copy_floats(stage, span);
  }

  /// What is to be done with what `copy_inputs` has brought, before it is waited for.
  DEVICE_MEMBER void make_inputs(int, int) {}

  /// Codes, and the four scales of which one is the span's.
  DEVICE_MEMBER void copy_coded(char *stage, int span) const {
    constexpr int parts = input_stride / 16, of_codes = cu_span / 16;
    for (int i = thread_index(); i < groups * 8 * parts; i += block_threads()) {
      const int token = i / parts, part = i % parts;
      const uint8_t *row = coded_row(op, tokens, token);
      const int64_t place = part < of_codes ? span * cu_span + part * 16
                                            : (int64_t)spans_of(op) * cu_span + span / 4 * 16;
      begin_copy(stage + token * input_stride + part * 16, row ? row + place : op.input,
                 row != nullptr);
    }
  }

  DEVICE_MEMBER void copy_floats(char *stage, int span) const {
    for (int i = thread_index(); i < groups * 8 * 16; i += block_threads()) {
      const int token = i / 16, k = span * cu_span + i % 16 * 8;
      uint16_t *place = (uint16_t *)(stage + token * input_stride) + i % 16 * 8;
      const uint16_t *row = input_row(op, tokens, token);
      if (!row || k + 8 <= op.inner) {
        begin_copy(place, row ? row + k : op.input, row != nullptr);
      } else {
        UNROLL for (int j = 0; j < 8; j++) place[j] = k + j < op.inner ? row[k + j] : 0;
      }
    }
  }

  DEVICE_MEMBER void multiply(int span, int end) {
    const Scales<format> now = scales;
    if (span + 1 < end) scales.load(factors, span + 1);
    const Words4 *words = codes_ring + span % stages * S::units * 32;
    const char *stage = inputs_ring + span % stages * inputs_bytes;
    if constexpr (cu_takes_codes((cu_format)format)) multiply_codes(span, now, words, stage);
    else multiply_floats(now, words, stage);
  }

  DEVICE_MEMBER void multiply_floats(const Scales<format> &now, const Words4 *words,
                                     const char *stage) {
    const char *x = stage + lane / 4 * input_stride + lane % 4 * 8;
    float part[groups][4] = {};
    UNROLL for (int f = 0; f < count; f++) {
      uint32_t a[4];
      now.fragment(f / of_group, words[f / S::fragments * 32], f % S::fragments, a);
      UNROLL for (int g = 0; g < groups; g++) {
        const Words2 b = *(const Words2 *)(x + g * 8 * input_stride + f * 32);
        multiply_tile(S::scales == 0 ? sum[g] : part[g], a, b.x, b.y);
        const bool ends_group = S::scales > 0 && f % of_group == of_group - 1;
        if (ends_group) now.promote(f / of_group, part[g], sum[g]);
      }
    }
  }

  DEVICE_MEMBER void multiply_codes(int span, const Scales<format> &now, const Words4 *words,
                                    const char *stage) {
    const char *x = stage + lane / 4 * input_stride + lane % 4 * 32;
    const char *factor = stage + lane % 4 * 2 * input_stride + cu_span + span % 4 * 4;
    uint32_t a[S::units][4];
    UNROLL for (int u = 0; u < S::units; u++) {
      const Words4 codes = words[u * 32];
      a[u][0] = codes.x, a[u][1] = codes.y, a[u][2] = codes.z, a[u][3] = codes.w;
    }
    UNROLL for (int g = 0; g < groups; g++) {
      const char *place = x + g * 8 * input_stride;
      int32_t part[4] = {};
      UNROLL for (int u = 0; u < S::units; u += 2) {
        const Words4 b = *(const Words4 *)(place + u * 8);
        multiply_tile(part, a[u], b.x, b.y);
        multiply_tile(part, a[u + 1], b.z, b.w);
      }
      const float *inputs = (const float *)(factor + g * 8 * input_stride);
      now.promote({inputs[0], inputs[input_stride / 4]}, part, sum[g]);
    }
  }

  /// The token and the row of the block that `sum[g][i]` is of.
  DEVICE_MEMBER int token(int g, int i) const { return g * 8 + lane % 4 * 2 + i % 2; }
  DEVICE_MEMBER int row(int i) const { return warp * cu_tile_rows + lane / 4 + i / 2 * 8; }
};

/// Rows of floats, whose codes the block makes: they are on their way while a span is multiplied.
template <int groups> struct ManyMade : Many<cu_format_w8a8, groups> {
  using Base = Many<cu_format_w8a8, groups>;
  /// Neighbours that have a token's columns: as many as a block of the most warps has for each.
  static constexpr int lanes = threads_max<cu_format_w8a8> / (groups * 8);
  SpanColumns<lanes> next = {};

  DEVICE_MEMBER ManyMade(const cu_product &op, const Tokens &tokens, char *shared)
      : Base(op, tokens, shared) {}

  DEVICE_MEMBER void load(int token, int span) {
    const float *row = float_row(this->op, this->tokens, token);
    if (row) next.load(row, span, this->op.inner);
  }

  DEVICE_MEMBER void copy_inputs(int span, int end) {
    if (span < end) load(thread_index() / lanes, span);
  }

  /// Blocks of fewer warps take the last tokens in a second turn.
  DEVICE_MEMBER void make_inputs(int span, int end) {
    if (span >= end) return;
    const int of_turn = block_threads() / lanes;
    make(thread_index() / lanes, span);
    UNROLL_BY(1) for (int token = of_turn + thread_index() / lanes; token < groups * 8;
                      token += of_turn) {
      load(token, span);
      make(token, span);
    }
  }

  DEVICE_MEMBER void make(int token, int span) {
    char *place = this->inputs_ring + span % Base::stages * Base::inputs_bytes
      + token * Base::input_stride;
    uint32_t words[SpanColumns<lanes>::count];
    const float scale = next.make(cu_code_s8, words);
    UNROLL for (int i = 0; i < SpanColumns<lanes>::count; i++) {
      ((uint32_t *)place)[word_of_four(cu_code_s8, next.four(i))] = words[i];
    }
    if (thread_index() % lanes == 0) ((float *)(place + cu_span))[span % 4] = scale;
  }
};

/// Where a part's sum is left for `sum_parts`: `[matrix][part][token][row]`, rows padded to whole
/// blocks.
DEVICE float *left_sum(const cu_product &op, int matrix, int part, int token, int row) {
  const int64_t of_block = block_warps() * cu_tile_rows;
  const int64_t line = ((int64_t)matrix * cu_product_warps + part) * cu_product_tokens_max + token;
  return op.workspace + (line * grid_x() + block_x()) * of_block + row;
}

/// Writes `count` tokens' outputs; `value(token, row)` is the sum of a row of the block.
template <typename Value>
DEVICE void write_rows(const cu_product &op, const Tokens &tokens, Value value) {
  const int rows = block_warps() * cu_tile_rows / (op.is_gated ? 2 : 1);
  for (int index = thread_index(); index < tokens.count * rows; index += block_threads()) {
    const int token = index / rows, row = index % rows;
    const Tile tile = tile_of_block(op, row / cu_tile_rows, block_warps());
    const int column = tile.index * cu_tile_rows + row % cu_tile_rows;
    if (!tile.exists || column >= tile.part->columns) continue;
    const float other = op.is_gated ? value(token, rows + row) : 0.f;
    finish(op, tile, tokens, token, column, value(token, row), other);
  }
}

template <int format, int groups, class Block = Many<format, groups>>
DEVICE void product_many(const cu_product &op) {
  constexpr int stages = stages_of<format, 1>;
  DYNAMIC_SHARED(char, shared);
  const int splits = op.splits, parts = cu_product_warps / splits;
  const int first_part = block_z() % splits * parts;
  if (op.order) wait_for_previous();
  const Tokens tokens = tokens_of_block(op, block_z() / splits, groups * 8);
  // Who is behind takes it that all in front of a kernel that has ended is done.
  if (tokens.count <= 0) return wait_for_previous();
  Block many(op, tokens, shared);
  const int first = part_of_columns(spans_of(op), first_part).first;
  const int end = part_of_columns(spans_of(op), first_part + parts - 1).end;
  UNROLL for (int i = 0; i < stages - 1; i++) many.copy_codes(first + i, end);
  if (first < end) many.scales.load(many.factors, first);
  wait_for_previous();
  UNROLL for (int i = 0; i < stages - 1; i++) {
    many.copy_inputs(first + i, end);
    end_copies();
    many.make_inputs(first + i, end);
  }
  float total[groups][4] = {};
  for (int p = first_part; p < first_part + parts; p++) {
    const Part part = part_of_columns(spans_of(op), p);
    UNROLL for (int g = 0; g < groups; g++) {
      UNROLL for (int i = 0; i < 4; i++) many.sum[g][i] = 0;
    }
    for (int span = part.first; span < part.end; span++) {
      wait_for_copies<stages - 2>();
      // All have their copies of this span, and none reads the one before any more.
      sync_block();
      many.copy_codes(span + stages - 1, end);
      many.copy_inputs(span + stages - 1, end);
      end_copies();
      many.multiply(span, end);
      many.make_inputs(span + stages - 1, end);
    }
    UNROLL for (int g = 0; g < groups; g++) {
      UNROLL for (int i = 0; i < 4; i++) {
        total[g][i] += many.sum[g][i];
        if (splits == 1 || many.token(g, i) >= tokens.count) continue;
        *left_sum(op, tokens.matrix, p, many.token(g, i), many.row(i)) = many.sum[g][i];
      }
    }
  }
  if (splits > 1) return;
  float *totals = (float *)shared;
  const int stride = block_warps() * cu_tile_rows + 4;
  sync_block();
  UNROLL for (int g = 0; g < groups; g++) {
    UNROLL for (int i = 0; i < 4; i++) {
      totals[many.token(g, i) * stride + many.row(i)] = total[g][i];
    }
  }
  sync_block();
  write_rows(op, tokens, [&](int token, int row) { return totals[token * stride + row]; });
}

}  // namespace

// Grid: a block for as many tiles as it has warps; tokens in parts of the kernel's number;
// matrices, times `splits`. With experts: tiles; 1; pieces of work (`slots.h`).
// Shared memory: `stages` spans of each warp's tile and of the tokens' inputs.
#define MANY(name, format)                                                    \
  EARLY_KERNEL_FOR(product_##name##_16, cu_product, threads_max<format>, 2) { \
    product_many<format, 2>(op);                                              \
  }                                                                           \
  EARLY_KERNEL_FOR(product_##name##_32, cu_product, threads_max<format>, 2) { \
    product_many<format, 4>(op);                                              \
  }                                                                           \
  EARLY_KERNEL_FOR(product_##name##_64, cu_product, threads_max<format>, 1) { \
    product_many<format, 8>(op);                                              \
  }

MANY(bf16, cu_format_bf16)
MANY(fp8, cu_format_fp8)
MANY(w8, cu_format_w8)
MANY(w4, cu_format_w4)
MANY(w8a8, cu_format_w8a8)
MANY(sparse, cu_format_sparse)
MANY(int4_32, cu_format_int4_32)
MANY(int4_64, cu_format_int4_64)
MANY(int4_128, cu_format_int4_128)
MANY(int8_32, cu_format_int8_32)
MANY(int8_64, cu_format_int8_64)
MANY(int8_128, cu_format_int8_128)

// The same of rows of floats, of which blocks make the codes.
EARLY_KERNEL_FOR(coding_w8a8_16, cu_product, threads_max<cu_format_w8a8>, 2) {
  product_many<cu_format_w8a8, 2, ManyMade<2>>(op);
}
EARLY_KERNEL_FOR(coding_w8a8_32, cu_product, threads_max<cu_format_w8a8>, 2) {
  product_many<cu_format_w8a8, 4, ManyMade<4>>(op);
}

// Grid and threads as of the blocks before, but tokens in twos, and matrices.
KERNEL(sum_parts, cu_product, 32 * cu_many_warps_max) {
  const Tokens tokens = tokens_of_block(op, block_z(), 2);
  if (tokens.count <= 0) return;
  write_rows(op, tokens, [&](int token, int row) {
    float total = 0;
    UNROLL for (int part = 0; part < cu_product_warps; part++) {
      total += *left_sum(op, block_z(), part, block_y() * 2 + token, row);
    }
    return total;
  });
}
