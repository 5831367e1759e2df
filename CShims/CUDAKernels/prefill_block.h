// SPDX-License-Identifier: Apache-2.0
// A block of `prefill.cu`: one warp that copies, eight that multiply.
#pragma once
#include "prefill.h"

constexpr int math_threads = 256, math_warps = math_threads / 32;
/// Floats from one token to the next where results change hands; not all in one bank.
constexpr int result_stride = cu_prefill_rows + 4;

template <int format> struct Prefill {
  using Shape = PrefillShape<format>;
  static constexpr int half_tokens = cu_prefill_tokens / 2;
  static_assert(cu_prefill_stages * Shape::stage_bytes + Shape::total_bytes + 128
                  <= cu_prefill_shared_bytes, "");
  static_assert(cu_prefill_stages * Shape::stage_bytes + half_tokens * result_stride * 4 + 128
                  <= cu_prefill_shared_bytes, "");

  const cu_prefill &op;
  uint8_t *stages;
  Float4 *totals;
  float *results;
  uint64_t *filled, *emptied;
  int spans;

  DEVICE_MEMBER Prefill(const cu_prefill &op, uint8_t *memory) : op(op) {
    filled = (uint64_t *)memory;
    emptied = filled + cu_prefill_stages;
    stages = memory + 128;
    totals = (Float4 *)(stages + cu_prefill_stages * Shape::stage_bytes);
    results = (float *)totals;
    spans = spans_of(op.product);
  }

  DEVICE_MEMBER void prepare_barriers() {
    if (thread_index() == 0) {
      for (int i = 0; i < cu_prefill_stages; i++) {
        barrier_init(&filled[i], 1);
        barrier_init(&emptied[i], math_warps);
      }
      fence_barriers();
    }
    sync_block();
  }

  /// By one warp: lane i copies tile i of the codes, the first the tokens too.
  DEVICE_MEMBER void copy() {
    const int lane = thread_index() % 32;
    Stage stage;
    for (PrefillWalk walk(op); !walk.is_over(); walk.advance()) {
      const Tile tile = tile_of(op.product, walk.row_block(), lane % Shape::tiles, Shape::tiles);
      const uint8_t *codes = tile.codes(op.product, walk.tokens().matrix, Shape::tile_bytes);
      const uint8_t *factors = tile.scales(op.product, walk.tokens().matrix, Shape::scale_bytes);
      const uint8_t *tokens =
        op.arranged + (int64_t)walk.token_block() * spans * Shape::token_bytes;
      for (int span = 0; span < spans; span++, stage = stage.next()) {
        uint8_t *place = stages + stage.index * Shape::stage_bytes;
        uint64_t *barrier = &filled[stage.index];
        if (lane == 0) {
          barrier_wait(&emptied[stage.index], stage.parity ^ 1);
          barrier_arrive(barrier, Shape::stage_bytes);
          copy_bulk(
            place, tokens + (int64_t)span * Shape::token_bytes, Shape::token_bytes, barrier);
        }
        sync_warp();
        if (lane >= Shape::tiles) continue;
        copy_bulk(place + Shape::token_bytes + lane * Shape::tile_bytes,
                  codes + (int64_t)span * Shape::tile_bytes, Shape::tile_bytes, barrier);
        if (Shape::factor_bytes == 0) continue;
        copy_bulk(place + Shape::token_bytes + Shape::tiles * Shape::tile_bytes
                    + lane * Shape::factor_bytes,
                  factors + (int64_t)span * Shape::factor_bytes, Shape::factor_bytes, barrier);
      }
    }
  }

  // Of a warp that multiplies: the stage it is at, the one after and the one before.
  Stage stage, after, before;
  bool has_before;
  /// The first and the end of a part of the columns, in spans.
  int first, end;
  const uint8_t *factors;
  /// Fragments of two chunks by turns; sums of a group and of a part, of each half of the tokens.
  uint32_t sets[2][Shape::chunk][4];
  float group[2][32], sum[2][32];

  /// The scales and zeros of the warp's tile, where they come with the codes.
  DEVICE_MEMBER const uint8_t *factors_at(const Stage &stage) const {
    return stages + stage.index * Shape::stage_bytes + Shape::token_bytes
      + Shape::tiles * Shape::tile_bytes + thread_index() / 32 * Shape::factor_bytes;
  }
  /// Of those, the place of a group of the lane's rows.
  DEVICE_MEMBER int factor_place(int group) const {
    return thread_index() % 32 / 4 * Shape::groups + group;
  }

  DEVICE_MEMBER void fragments(const Stage &stage, int chunk, uint32_t (&set)[Shape::chunk][4]) {
    const uint8_t *codes = stages + stage.index * Shape::stage_bytes + Shape::token_bytes
      + thread_index() / 32 * Shape::tile_bytes + thread_index() % 32 * 16;
    uint32_t zeros[2] = {0, 0};
    if constexpr (Shape::factor_bytes > 0) {
      const uint16_t *pairs =
        (const uint16_t *)(factors_at(stage) + Shape::factor_bytes / 5 * 4);
      const uint32_t two = pairs[factor_place(chunk * Shape::chunk / Shape::group_steps)];
      UNROLL for (int i = 0; i < 2; i++) zeros[i] = Codes<format>::zero(two, i);
    }
    UNROLL for (int f = 0; f < Shape::chunk; f++) {
      const int step = chunk * Shape::chunk + f;
      const Words4 words = *(const Words4 *)(codes + step / Shape::fragments * 512);
      if constexpr (Shape::factor_bytes == 0) {
        Codes<format>::fragment(words, step % Shape::fragments, set[f]);
      } else {
        Codes<format>::fragment(words, step % Shape::fragments, zeros, set[f]);
      }
    }
    UNROLL for (int f = 0; f < Shape::chunk; f++) compute_now(set[f]);
  }

  /// A chunk's products with one half of the tokens.
  DEVICE_MEMBER void multiply(int chunk, int half, int span) {
    begin_products(group[half]);
    const uint64_t tokens = matrix_at(stages + stage.index * Shape::stage_bytes, 128, 2048);
    UNROLL for (int f = 0; f < Shape::chunk; f++) {
      const int step = chunk * Shape::chunk + f;
      const bool adds = Shape::has_scales ? step % Shape::group_steps != 0
                                          : step > 0 || span > first;
      const int place = half * (half_tokens / 8) * 2048 + step * 256;
      multiply_group(group[half], sets[chunk % 2][f], tokens + place / 16, adds);
    }
    end_products();
  }

  /// Of the lane's rows g and g + 8.
  struct Scales { float low, high; };

  DEVICE_MEMBER Scales scales(int span, int group) const {
    if (!Shape::has_scales) return {1, 1};
    if (Shape::factor_bytes > 0) {
      const Float2 pair = ((const Float2 *)factors_at(stage))[factor_place(group)];
      return {pair.x, pair.y};
    }
    if (format == cu_format_fp8) {
      const float scale = ((const float *)factors)[span];
      return {scale, scale};
    }
    const uint16_t *pair = (const uint16_t *)factors
      + (span * Shape::groups + group) * cu_tile_rows + thread_index() % 32 / 4;
    return {float_of_bf16(pair[0]), float_of_bf16(pair[8])};
  }

  DEVICE_MEMBER void promote(int half, const Scales &scales) {
    UNROLL for (int i = 0; i < 32; i++) {
      sum[half][i] += (i % 4 < 2 ? scales.low : scales.high) * group[half][i];
    }
  }

  DEVICE_MEMBER void release_before() {
    if (!has_before) return;
    sync_warp();
    if (thread_index() % 32 == 0) barrier_arrive(&emptied[before.index]);
  }

  /// A span that is one group, of two chunks.
  DEVICE_MEMBER void multiply_whole(int span) {
    const Scales factor = scales(span, 0);
    multiply(0, 0, span);
    if (!Shape::has_scales) wait_for_products<1>(group[1]);
    release_before();
    fragments(stage, 1, sets[1]);
    multiply(1, 0, span);
    multiply(0, 1, span);
    wait_for_products<1>(group[0]);
    if (Shape::has_scales) promote(0, factor);
    multiply(1, 1, span);
    barrier_wait(&filled[after.index], after.parity);
    wait_for_products<1>(group[0]);
    fragments(after, 0, sets[0]);
    if (!Shape::has_scales) return;
    wait_for_products<0>(group[1]);
    promote(1, factor);
  }

  /// A span of groups that are a chunk each.
  DEVICE_MEMBER void multiply_groups(int span) {
    constexpr int count = Shape::groups;
    Scales factors[count];
    UNROLL for (int i = 0; i < count; i++) factors[i] = scales(span, i);
    UNROLL for (int i = 0; i < count; i++) {
      multiply(i, 0, span);
      if (i > 0) wait_for_products<1>(group[1]), promote(1, factors[i - 1]);
      if (i == 0) release_before();
      if (i + 1 < count) fragments(stage, i + 1, sets[(i + 1) % 2]);
      multiply(i, 1, span);
      wait_for_products<1>(group[0]);
      promote(0, factors[i]);
    }
    barrier_wait(&filled[after.index], after.parity);
    fragments(after, 0, sets[0]);
    wait_for_products<0>(group[1]);
    promote(1, factors[count - 1]);
  }

  /// Adds the sums of a part to the totals; after the last the totals are where the sums were.
  DEVICE_MEMBER void end_part() {
    if (!Shape::has_scales) {
      wait_for_products<0>(group[0]);
      wait_for_products<0>(group[1]);
      UNROLL for (int i = 0; i < 64; i++) sum[i / 32][i % 32] += group[i / 32][i % 32];
      return;
    }
    const bool is_last = end == spans;
    UNROLL for (int j = 0; j < 16; j++) {
      float *four = &sum[j / 8][j % 8 * 4];
      Float4 &place = totals[j * math_threads + thread_index()];
      Float4 total = {0, 0, 0, 0};
      if (first > 0) total = place;
      total.x += four[0], total.y += four[1], total.z += four[2], total.w += four[3];
      if (!is_last) place = total;
      four[0] = is_last ? total.x : 0, four[1] = is_last ? total.y : 0;
      four[2] = is_last ? total.z : 0, four[3] = is_last ? total.w : 0;
    }
  }

  DEVICE_MEMBER void multiply_columns(bool is_last_tile) {
    UNROLL for (int i = 0; i < 64; i++) sum[i / 32][i % 32] = 0;
    const int of_part = (spans + cu_product_warps - 1) / cu_product_warps;
    for (first = 0; first < spans; first = end) {
      end = first + of_part < spans ? first + of_part : spans;
      for (int span = first; span < end; span++) {
        after = is_last_tile && span + 1 == spans ? stage : stage.next();
        if (Shape::group_steps == Shape::steps) multiply_whole(span);
        else multiply_groups(span);
        before = stage, has_before = true;
        stage = after;
      }
      end_part();
    }
  }

  /// The results change hands, so that neighbouring rows of a token are written together.
  DEVICE_MEMBER void write(const PrefillWalk &walk) {
    const int lane = thread_index() % 32, row = thread_index() / 32 * 16 + lane / 4;
    UNROLL for (int half = 0; half < 2; half++) {
      sync_first<math_threads>();
      UNROLL for (int i = 0; i < 32; i++) {
        const int token = i / 4 * 8 + lane % 4 * 2 + i % 2;
        results[token * result_stride + row + i % 4 / 2 * 8] = sum[half][i];
      }
      sync_first<math_threads>();
      write_half(walk.row_block(), walk.tokens(), half * half_tokens);
    }
    if (Shape::has_scales) sync_first<math_threads>();
  }

  /// A warp takes every eighth token, a lane each 32nd row. What is added to a row's outputs is
  /// asked for before any is written: a block has too few warps to wait for each.
  DEVICE_MEMBER void write_half(int row_block, const Tokens &tokens, int first) {
    const cu_product &product = op.product;
    const int rows = product.is_gated ? cu_prefill_rows / 2 : cu_prefill_rows;
    int slots[of_warp];
    UNROLL for (int i = 0; i < of_warp; i++) {
      const int token = first + thread_index() / 32 + i * math_warps;
      slots[i] = token < tokens.count ? tokens.slot(token) : -1;
    }
    for (int row = thread_index() % 32; row < rows; row += 32) {
      const Tile tile = tile_of(product, row_block, row / cu_tile_rows, Shape::tiles);
      const int column = tile.index * cu_tile_rows + row % cu_tile_rows;
      if (!tile.exists || column >= tile.part->columns) continue;
      float values[of_warp];
      outcomes(tile, slots, row, column, values);
      put_column(tile.part->output, slots, tokens.matrix * product.output_matrix + column, values);
    }
  }

  static constexpr int of_warp = half_tokens / math_warps;

  /// Of a row of results and a warp's tokens.
  DEVICE_MEMBER void outcomes(const Tile &tile, const int (&slots)[of_warp], int row, int column,
                              float (&values)[of_warp]) {
    const cu_product &product = op.product;
    float biases[2], addends[of_warp][cu_product_addends_max] = {};
    load_biases(product, tile, column, biases);
    UNROLL for (int a = 0; a < cu_product_addends_max; a++) {
      if (!product.addends[a]) continue;
      const float *addend = product.addends[a] + column;
      UNROLL for (int i = 0; i < of_warp; i++) {
        if (slots[i] >= 0) addends[i][a] = addend[slots[i] * product.addend_strides[a]];
      }
    }
    const float *result = results + thread_index() / 32 * result_stride + row;
    UNROLL for (int i = 0; i < of_warp; i++, result += math_warps * result_stride) {
      const float other = product.is_gated ? result[cu_prefill_rows / 2] : 0.f;
      values[i] = outcome(product, result[0], other, biases, addends[i]);
    }
  }

  /// One column of a warp's tokens.
  DEVICE_MEMBER void put_column(const cu_rows &rows, const int (&slots)[of_warp], int64_t column,
                                const float (&values)[of_warp]) {
    if (rows.floats) {
      UNROLL for (int i = 0; i < of_warp; i++) {
        if (slots[i] >= 0) rows.floats[slots[i] * rows.stride + column] = values[i];
      }
    }
    if (!rows.narrow) return;
    UNROLL for (int i = 0; i < of_warp; i++) {
      if (slots[i] >= 0) rows.narrow[slots[i] * rows.stride + column] = bf16_bits(values[i]);
    }
  }

  DEVICE_MEMBER void multiply() {
    UNROLL for (int i = 0; i < 64; i++) group[i / 32][i % 32] = 0;
    stage = Stage();
    has_before = false;
    PrefillWalk walk(op);
    if (walk.is_over()) return;
    barrier_wait(&filled[0], 0);
    fragments(stage, 0, sets[0]);
    for (; !walk.is_over(); walk.advance()) {
      const Tile tile =
        tile_of(op.product, walk.row_block(), thread_index() / 32, Shape::tiles);
      factors = tile.scales(op.product, walk.tokens().matrix, Shape::scale_bytes);
      multiply_columns(walk.is_last());
      write(walk);
    }
  }
};
