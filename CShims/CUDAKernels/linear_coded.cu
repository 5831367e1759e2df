// SPDX-License-Identifier: Apache-2.0
// Products of codes e4m3 with codes e4m3 (`fp8a8`) of up to 64 tokens a block (`product.h`), by
// `wgmma` as those of prompts (`prefill.cu`). As in `linear_few.cu`, a block takes one tile of 16
// rows, or the gate's and the other's of a gated unit, and each of its 8 warps a part of the
// columns.
//
// One instruction for any number of tokens: `wgmma` adds e4m3 with fewer bits than a float has, and
// `mma` of the same type does not, or is not there, so that a token's bits would depend on how many
// others a step has.
//
// `wgmma` multiplies the rows of four warps with the same tokens, and here each warp has the same
// rows and columns of its own. So the tokens of a product are 32: eight, four times, of each warp's
// columns; a warp takes those eight sums that are of its own and leaves the others, whatever they
// are. That is four times the work of the tensor cores: 16 cycles for 2 KiB of weights, which
// memory takes 140 for.
//
// Of eight tokens' codes of a span, 16 columns of each are 128 bytes together, as `wgmma` takes
// them; behind the codes are, for each token, the four scales of which one is the span's. Weights
// and tokens are copied a span ahead, the first weights before the kernels in front are done. The
// warps go through their parts together; those that have no span left multiply what is there with
// zeros and add nothing. Not yet run on a GPU.
#include "few_sums.h"
#include "wgmma.h"

namespace {

constexpr int group_warps = 4;

template <int eights, int tiles> struct Coded {
  using S = Span<cu_format_fp8a8>;
  static constexpr int stages = cu_coded_stages, tokens_max = eights * 8;
  /// Bytes of a stage: of all warps' weights; of eight tokens' codes, and of all; of scales.
  static constexpr int weight_bytes = cu_product_warps * tiles * S::bytes;
  static constexpr int eight_bytes = 8 * cu_span;
  static constexpr int token_bytes = cu_product_warps * eights * eight_bytes;
  static constexpr int scale_bytes = cu_product_warps * tokens_max * 16;
  static constexpr int stage_bytes = weight_bytes + token_bytes + scale_bytes;
  static_assert(stages * stage_bytes == cu_coded_bytes(tokens_max, tiles), "");

  const cu_product &op;
  const int lane = thread_index() % 32, warp = thread_index() / 32;
  /// Spans of the longest part, and the warp's part.
  const int rounds;
  const Part part;
  char *shared;
  const uint8_t *codes[tiles];
  const float *factors[tiles];
  /// The weights' scales of the span that is next.
  float factor[tiles] = {};
  /// Of every eight tokens, the row of codes that the lane copies; those whose scales it copies;
  /// null beyond the last.
  const uint8_t *rows[eights], *scale_rows[(tokens_max + 31) / 32];
  /// Two by turns.
  float group[2][tiles][16] = {};
  float sum[eights][tiles][4] = {};

  DEVICE_MEMBER Coded(const cu_product &op, char *shared)
      : op(op), rounds((spans_of(op) + cu_product_warps - 1) / cu_product_warps),
        part(part_of_columns(spans_of(op), thread_index() / 32)), shared(shared) {}

  /// Finds the tiles of a block.
  DEVICE_MEMBER void find_tiles(int block, int matrix) {
    UNROLL for (int i = 0; i < tiles; i++) {
      const Tile tile = tile_of(op, block, i, tiles);
      codes[i] = tile.codes(op, matrix, S::bytes) + lane * 16;
      factors[i] = (const float *)tile.scales(op, matrix, S::scale_bytes);
    }
  }

  DEVICE_MEMBER void find_tokens(const Tokens &tokens) {
    UNROLL for (int e = 0; e < eights; e++) rows[e] = coded_row(op, tokens, e * 8 + lane % 8);
    UNROLL for (int i = 0; i * 32 < tokens_max; i++) {
      scale_rows[i] = coded_row(op, tokens, i * 32 + lane);
    }
  }

  // MARK: Places in shared memory

  DEVICE_MEMBER char *stage(int round) const { return shared + round % stages * stage_bytes; }

  DEVICE_MEMBER Words4 *weights_at(int round, int tile) const {
    return (Words4 *)(stage(round) + (warp * tiles + tile) * S::bytes) + lane;
  }
  /// Eight tokens' codes of a warp's columns, beside those of the other warps of its group.
  DEVICE_MEMBER char *tokens_at(int round, int eight, int warp) const {
    const int place = (warp / group_warps * eights + eight) * group_warps + warp % group_warps;
    return stage(round) + weight_bytes + place * eight_bytes;
  }
  /// The scales of a token for the warp's columns.
  DEVICE_MEMBER float *scales_at(int round, int token) const {
    char *place = stage(round) + weight_bytes + token_bytes;
    return (float *)(place + (warp * tokens_max + token) * 16);
  }

  // MARK: Copies

  DEVICE_MEMBER void copy_weights(int round) const {
    const int span = part.first + round;
    if (span >= part.end) return;
    UNROLL for (int i = 0; i < tiles; i++) {
      UNROLL for (int u = 0; u < S::units; u++) {
        const uint8_t *source = codes[i] + (int64_t)span * S::bytes + u * 512;
        begin_copy(weights_at(round, i) + u * 32, source, true);
      }
    }
  }

  /// Zeros for tokens, and for a span, that are not there.
  DEVICE_MEMBER void copy_tokens(int round) {
    const int span = part.first + round, spans = spans_of(op);
    if (round >= rounds) return;
    UNROLL for (int e = 0; e < eights; e++) {
      UNROLL for (int i = 0; i < 2; i++) {
        const int sixteen = lane / 8 + i * 4;
        char *place = tokens_at(round, e, warp) + sixteen * 128 + lane % 8 * 16;
        const uint8_t *row = span < part.end ? rows[e] : nullptr;
        const void *source = row ? row + span * cu_span + sixteen * 16 : op.input;
        begin_copy(place, source, row != nullptr);
      }
    }
    UNROLL for (int i = 0; i * 32 < tokens_max; i++) {
      if (i * 32 + lane >= tokens_max) break;
      const uint8_t *row = span < part.end ? scale_rows[i] : nullptr;
      const void *source = row ? scales_of_row(row, spans) + span / 4 * 4 : op.input;
      begin_copy(scales_at(round, i * 32 + lane), source, row != nullptr);
    }
  }

  /// What is to be done with what `copy_tokens` has brought, before it is waited for.
  DEVICE_MEMBER void make_tokens(int) {}

  DEVICE_MEMBER void load_factors(int round) {
    const int span = part.first + round;
    if (span >= part.end) return;
    UNROLL for (int i = 0; i < tiles; i++) factor[i] = factors[i][span];
  }

  // MARK: Products

  /// Adds the sums of eight tokens that are of the warp's columns.
  DEVICE_MEMBER void promote(int round, int eight, const float (&factor)[tiles]) {
    const int span = part.first + round, own = warp % group_warps;
    const float *scales = scales_at(round, eight * 8 + lane % 4 * 2) + span % 4;
    const Float2 inputs = {scales[0], scales[4]};
    UNROLL for (int i = 0; i < tiles; i++) {
      const float (&all)[16] = group[eight % 2][i];
      float part_sum[4], total[4];
      UNROLL for (int j = 0; j < 4; j++) {
        part_sum[j] = all[j];
        UNROLL for (int w = 1; w < group_warps; w++) {
          if (own == w) part_sum[j] = all[4 * w + j];
        }
        total[j] = sum[eight][i][j];
      }
      add_codes(factor[i], factor[i], inputs, part_sum, total);
      UNROLL for (int j = 0; j < 4; j++) {
        if (span < part.end) sum[eight][i][j] = total[j];
      }
    }
  }

  /// Eight tokens' products with the warps' weights.
  DEVICE_MEMBER void multiply_eight(int round, int eight,
                                    const uint32_t (&weights)[tiles][S::units][4]) {
    UNROLL for (int i = 0; i < tiles; i++) begin_products(group[eight % 2][i]);
    const char *place = tokens_at(round, eight, warp / group_warps * group_warps);
    const uint64_t tokens = matrix_at(place, 128, eight_bytes);
    UNROLL for (int i = 0; i < tiles; i++) {
      UNROLL for (int u = 0; u < S::units; u++) {
        multiply_group_e4m3(group[eight % 2][i], weights[i][u], tokens + u * 256 / 16, u > 0);
      }
    }
    end_products();
  }

  /// Those of each warp's next span. All warps call it.
  DEVICE_MEMBER void multiply(int round) {
    uint32_t weights[tiles][S::units][4];
    float now[tiles];
    UNROLL for (int i = 0; i < tiles; i++) {
      now[i] = factor[i];
      UNROLL for (int u = 0; u < S::units; u++) {
        const Words4 words = weights_at(round, i)[u * 32];
        weights[i][u][0] = words.x, weights[i][u][1] = words.y;
        weights[i][u][2] = words.z, weights[i][u][3] = words.w;
        compute_now(weights[i][u]);
      }
    }
    load_factors(round + 1);
    UNROLL for (int e = 0; e < eights; e++) {
      multiply_eight(round, e, weights);
      if (e == 0) continue;
      UNROLL for (int i = 0; i < tiles; i++) wait_for_products<1>(group[(e - 1) % 2][i]);
      promote(round, e - 1, now);
    }
    UNROLL for (int i = 0; i < tiles; i++) wait_for_products<0>(group[(eights - 1) % 2][i]);
    promote(round, eights - 1, now);
  }
};

/// Of rows of floats, of whose codes each warp makes those of its own columns: floats are on their
/// way while a span is multiplied.
struct Made : Coded<1, 1> {
  static constexpr int made = cu_made_tokens(cu_format_fp8a8);

  const float *float_rows[made];
  SpanColumns<32> next[made];

  DEVICE_MEMBER Made(const cu_product &op, char *shared) : Coded(op, shared) {}

  /// Tokens that are not there stay zeros.
  DEVICE_MEMBER void find_tokens(const Tokens &tokens) {
    UNROLL for (int i = 0; i < made; i++) float_rows[i] = float_row(op, tokens, i);
    UNROLL for (int i = 0; i < stages; i++) {
      Words4 *codes = (Words4 *)tokens_at(i, 0, warp) + lane;
      codes[0] = codes[32] = {0, 0, 0, 0};
      if (lane < tokens_max) *(Words4 *)scales_at(i, lane) = {0, 0, 0, 0};
    }
    sync_warp();
  }

  DEVICE_MEMBER void copy_tokens(int round) {
    const int span = part.first + round;
    UNROLL for (int i = 0; i < made; i++) {
      if (span < part.end && float_rows[i]) next[i].load(float_rows[i], span, op.inner);
    }
  }

  DEVICE_MEMBER void make_tokens(int round) {
    const int span = part.first + round;
    UNROLL for (int i = 0; i < made; i++) {
      if (span >= part.end || !float_rows[i]) continue;
      uint32_t word[1];
      const float scale = next[i].make(op.code, word);
      char *place = tokens_at(round, 0, warp) + lane / 4 * 128 + i * 16;
      ((uint32_t *)place)[lane % 4] = word[0];
      if (lane == 0) scales_at(round, i)[span % 4] = scale;
    }
  }
};

template <int eights, int tiles, class Block = Coded<eights, tiles>>
DEVICE void product_coded(const cu_product &op) {
  if (!has_wgmma) return wait_for_previous();
  DYNAMIC_SHARED(char, shared);
  Tokens tokens;
  // Which tokens an expert has is known only later; a first block has some always.
  if (op.order || block_y() > 0) {
    wait_for_previous();
    tokens = tokens_of_block(op, block_z(), Block::tokens_max);
    if (tokens.count <= 0) return;
  }
  Block block(op, shared);
  block.find_tiles(block_x(), op.order ? tokens.matrix : block_z());
  UNROLL for (int i = 0; i < Block::stages - 1; i++) block.copy_weights(i);
  block.load_factors(0);
  if (!op.order && block_y() == 0) {
    tokens = tokens_of_block(op, block_z(), Block::tokens_max);
    wait_for_previous();
  }
  block.find_tokens(tokens);
  UNROLL for (int i = 0; i < Block::stages - 1; i++) {
    block.copy_tokens(i);
    end_copies();
    block.make_tokens(i);
  }
  for (int round = 0; round < block.rounds; round++) {
    wait_for_copies<Block::stages - 2>();
    publish_copies();
    // All have their copies of this round, and none reads those of the one before any more.
    sync_block();
    block.copy_weights(round + Block::stages - 1);
    block.copy_tokens(round + Block::stages - 1);
    end_copies();
    block.multiply(round);
    block.make_tokens(round + Block::stages - 1);
  }
  wait_for_copies<0>();
  UNROLL for (int e = 0; e < eights; e++) {
    if (e * 8 >= tokens.count) break;
    // The sums' place is the next eight's.
    if (e > 0) sync_block();
    write_sums(op, block.sum[e], tokens, block_x(), e * 8);
  }
}

}  // namespace

// Grid: tiles of 16 rows of the weight's parts, or of the gate; tokens in parts of the kernel's
// number; matrices. With experts: tiles; 1; pieces of work (`slots.h`).
// Shared memory: `cu_coded_bytes`.
#define CODED(name, eights)                                                                       \
  EARLY_KERNEL(product_fp8a8_##name, cu_product, cu_threads) { product_coded<eights, 1>(op); }    \
  EARLY_KERNEL(product_fp8a8_gated_##name, cu_product, cu_threads) { product_coded<eights, 2>(op); }

CODED(few, 1)
CODED(16, 2)
CODED(32, 4)
CODED(64, 8)

// The same of up to `cu_made_tokens` rows of floats, of which blocks make the codes.
EARLY_KERNEL(coding_fp8a8_few, cu_product, cu_threads) { product_coded<1, 1, Made>(op); }
