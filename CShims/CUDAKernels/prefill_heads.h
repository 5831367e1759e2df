// SPDX-License-Identifier: Apache-2.0
// A block of `prefill.cu` for the matrices of heads: the four warps of the third warpgroup copy,
// and put the tokens in order themselves. A kernel that did so first would move more bytes than the
// product: what a head reads is multiplied with 1 to 4 blocks of rows (V3: 128 columns with 512
// rows, 512 with 128), what a linear reads with 32 and more.
//
// A warp copies eight tokens after eight, columns as they lie, a span ahead; when they are there,
// it exchanges the odd pairs of eight columns for the even ones of the next eight.
//
// Bounds of an H100, for 128 rows × 128 tokens × 128 columns: as in `prefill.cu`, and 64 KiB more
// of shared memory: 1,280 cycles, tensor cores 1,024. Not yet run on a GPU.
#pragma once
#include "prefill_block.h"

struct PrefillHeads : Prefill<cu_format_bf16> {
  static constexpr int copy_warps = (cu_prefill_threads - math_threads) / 32;
  /// Eights of tokens of a warp, and of columns of a span.
  static constexpr int eights = cu_prefill_tokens / 8 / copy_warps;
  static constexpr int column_eights = cu_span / 8;

  const int lane = thread_index() % 32, warp = (thread_index() - math_threads) / 32;

  DEVICE_MEMBER PrefillHeads(const cu_prefill &op, uint8_t *memory) : Prefill(op, memory) {}

  /// Where the warp's tokens begin; of its next eight, `copy_warps` eights behind.
  DEVICE_MEMBER uint8_t *tokens_at(int stage) const {
    return stages + stage * Shape::stage_bytes + warp * 2048 + lane % 8 * 16;
  }

  /// By the first warp: lane i copies tile i of the weights.
  DEVICE_MEMBER void copy_weights(const Stage &stage, const uint8_t *codes) {
    uint64_t *barrier = &filled[stage.index];
    if (lane == 0) barrier_arrive(barrier, Shape::tiles * Shape::tile_bytes);
    sync_warp();
    if (lane >= Shape::tiles) return;
    copy_bulk(stages + stage.index * Shape::stage_bytes + Shape::token_bytes
                + lane * Shape::tile_bytes,
              codes, Shape::tile_bytes, barrier);
  }

  /// Eight columns of a token, of zeros beyond the last.
  DEVICE_MEMBER void copy_eight(uint8_t *to, const uint16_t *row, int k, bool is_there) const {
    const int inner = op.product.inner;
    if (k + 8 <= inner || k >= inner || !is_there) {
      return begin_copy(to, row + k, is_there && k < inner);
    }
    UNROLL_BY(1) for (int i = 0; i < 8; i++) ((uint16_t *)to)[i] = k + i < inner ? row[k + i] : 0;
  }

  /// A lane has one of every eight tokens, and of its columns every fourth eight.
  ///
  /// - Parameters:
  ///   - row: of the lane's first token.
  ///   - left: tokens from that one on.
  DEVICE_MEMBER void copy_tokens(const Stage &stage, const uint16_t *row, int left, int span) {
    uint8_t *place = tokens_at(stage.index) + lane / 8 * 128;
    const int k = span * cu_span + lane / 8 * 8;
    UNROLL_BY(1) for (int e = 0; e < eights; e++) {
      UNROLL for (int i = 0; i < column_eights / 4; i++) {
        copy_eight(place + i * 512, row, k + i * 32, left > 0);
      }
      place += copy_warps * 2048;
      left -= copy_warps * 8;
      if (left > 0) row += copy_warps * 8 * op.product.input_stride;
    }
  }

  /// Puts what the warp has copied in order.
  DEVICE_MEMBER void arrange(int stage) {
    sync_warp();
    uint8_t *place = tokens_at(stage) + lane / 8 * 256;
    UNROLL_BY(1) for (int e = 0; e < eights; e++, place += copy_warps * 2048) {
      UNROLL for (int i = 0; i < column_eights / 8; i++) {
        Words4 *two = (Words4 *)(place + i * 1024);
        const Words4 low = two[0], high = two[8];
        two[0] = {low.x, low.z, high.x, high.z};
        two[8] = {low.y, low.w, high.y, high.w};
      }
    }
    publish_copies();
    sync_warp();
    if (lane == 0) barrier_arrive(&filled[stage]);
  }

  DEVICE_MEMBER void copy() {
    const cu_product &product = op.product;
    Stage stage;
    int before = -1;
    for (PrefillWalk walk(op); !walk.is_over(); walk.advance()) {
      const Tokens tokens = walk.tokens();
      const Tile tile = tile_of(product, walk.row_block(), lane % Shape::tiles, Shape::tiles);
      const uint8_t *codes = tile.codes(product, tokens.matrix, Shape::tile_bytes);
      const int first = warp * 8 + lane % 8, left = tokens.count - first;
      // Where there is none, somewhere that can be pointed at.
      const uint16_t *row = input_row(product, tokens, left > 0 ? first : 0);
      for (int span = 0; span < spans; span++, stage = stage.next()) {
        if (lane == 0) barrier_wait(&emptied[stage.index], stage.parity ^ 1);
        sync_warp();
        if (warp == 0) copy_weights(stage, codes);
        codes += Shape::tile_bytes;
        copy_tokens(stage, row, left, span);
        end_copies();
        if (before >= 0) wait_for_copies<1>(), arrange(before);
        before = stage.index;
      }
    }
    if (before >= 0) wait_for_copies<0>(), arrange(before);
  }
};
