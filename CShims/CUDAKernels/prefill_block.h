// SPDX-License-Identifier: Apache-2.0
// A block of `prefill.cu`: one warp that copies, eight that multiply.
#pragma once
#include "prefill_outputs.h"

template <int format> struct Prefill {
  using Shape = PrefillShape<format>;
  static_assert(cu_prefill_stages * Shape::stage_bytes + Shape::total_bytes + 128
                  <= cu_prefill_shared_bytes, "");
  static_assert(cu_prefill_stages * Shape::stage_bytes + half_tokens * result_stride * 4 + 128
                  <= cu_prefill_shared_bytes, "");

  const cu_prefill &op;
  uint8_t *stages;
  Float4 *totals;
  uint64_t *filled, *emptied;
  int spans;

  DEVICE_MEMBER Prefill(const cu_prefill &op, uint8_t *memory) : op(op) {
    filled = (uint64_t *)memory;
    emptied = filled + cu_prefill_stages;
    stages = memory + 128;
    totals = (Float4 *)(stages + cu_prefill_stages * Shape::stage_bytes);
    spans = spans_of(op.product);
  }

  /// - Parameter fillers: how many say that a stage is filled.
  DEVICE_MEMBER void prepare_barriers(int fillers = 1) {
    if (thread_index() == 0) {
      for (int i = 0; i < cu_prefill_stages; i++) {
        barrier_init(&filled[i], fillers);
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
  /// Fragments of two chunks by turns, or a span's codes; sums of a group and of a part, of each
  /// half of the tokens.
  uint32_t sets[2][Shape::chunk][4];
  typename GroupSum<format>::Type group[2][32];
  float sum[2][32];

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
  /// Those of the span before.
  Scales factor_before;

  DEVICE_MEMBER Scales scales(int span, int group) const {
    if (!Shape::has_scales) return {1, 1};
    if (Shape::factor_bytes > 0) {
      const Float2 pair = ((const Float2 *)factors_at(stage))[factor_place(group)];
      return {pair.x, pair.y};
    }
    if (cu_has_block_scales((cu_format)format)) {
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

  DEVICE_MEMBER void promote_codes(int half, const Scales &scales, const Stage &stage) {
    const uint8_t *place = stages + stage.index * Shape::stage_bytes + cu_prefill_tokens * cu_span;
    const float *inputs = (const float *)place + half * half_tokens + thread_index() % 4 * 2;
    UNROLL for (int j = 0; j < 8; j++) {
      add_codes(scales.low, scales.high, *(const Float2 *)(inputs + 8 * j), group[half] + 4 * j,
                sum[half] + 4 * j);
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

  /// The weights' codes of a span, as they lie in memory: four steps of 32 columns.
  DEVICE_MEMBER void load_codes(const Stage &stage) {
    const uint8_t *codes = stages + stage.index * Shape::stage_bytes + Shape::token_bytes
      + thread_index() / 32 * Shape::tile_bytes + thread_index() % 32 * 16;
    UNROLL for (int step = 0; step < 4; step++) {
      const Words4 words = *(const Words4 *)(codes + step * 512);
      uint32_t (&set)[4] = sets[0][step];
      set[0] = words.x, set[1] = words.y, set[2] = words.z, set[3] = words.w;
      compute_now(set);
    }
  }

  /// A span's codes with those of one half of the tokens.
  DEVICE_MEMBER void multiply_half(int half) {
    begin_products(group[half]);
    const uint64_t tokens = matrix_at(stages + stage.index * Shape::stage_bytes, 128, 1024);
    UNROLL for (int step = 0; step < 4; step++) {
      const int place = half * (half_tokens / 8) * 1024 + step * 256;
      if constexpr (format == cu_format_fp8a8) {
        multiply_group_e4m3(group[half], sets[0][step], tokens + place / 16, step > 0);
      } else {
        multiply_group(group[half], sets[0][step], tokens + place / 16, step > 0);
      }
    }
    end_products();
  }

  /// A span of codes; the sums of its second half are scaled while the next span's first is
  /// multiplied, or where the part ends.
  DEVICE_MEMBER void multiply_codes(int span) {
    const Scales factor = scales(span, 0);
    multiply_half(0);
    // It is done; the compiler is told so.
    wait_for_products<1>(group[1]);
    if (span > first) promote_codes(1, factor_before, before);
    release_before();
    multiply_half(1);
    wait_for_products<1>(group[0]);
    promote_codes(0, factor, stage);
    factor_before = factor;
    barrier_wait(&filled[after.index], after.parity);
    wait_for_products<0>(group[1]);
    load_codes(after);
  }

  /// Adds the sums of a part to the totals; after the last the totals are where the sums were.
  DEVICE_MEMBER void end_part() {
    if constexpr (Shape::has_codes) promote_codes(1, factor_before, before);
    if constexpr (!Shape::has_scales) {
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
        if constexpr (Shape::has_codes) multiply_codes(span);
        else if constexpr (Shape::group_steps == Shape::steps) multiply_whole(span);
        else multiply_groups(span);
        before = stage, has_before = true;
        stage = after;
      }
      end_part();
    }
  }

  DEVICE_MEMBER void multiply() {
    UNROLL for (int i = 0; i < 64; i++) group[i / 32][i % 32] = 0;
    stage = Stage();
    has_before = false;
    PrefillWalk walk(op);
    if (walk.is_over()) return;
    barrier_wait(&filled[0], 0);
    if constexpr (Shape::has_codes) load_codes(stage);
    else fragments(stage, 0, sets[0]);
    for (; !walk.is_over(); walk.advance()) {
      const Tile tile =
        tile_of(op.product, walk.row_block(), thread_index() / 32, Shape::tiles);
      factors = tile.scales(op.product, walk.tokens().matrix, Shape::scale_bytes);
      multiply_columns(walk.is_last());
      PrefillOutputs<format>{op, (float *)totals}.write(sum, walk);
    }
  }
};
