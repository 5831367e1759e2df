// SPDX-License-Identifier: Apache-2.0
// The products of `product.h` for more than 64 tokens, on Hopper's GPUs: the same formula, weights,
// results and bits; blocks of 128 rows × 128 tokens, multiplied by `wgmma`.
//
// Shapes: weight [columns, inner] packed as in `product.h`, input [tokens, inner], output [tokens,
// columns]. With experts, a block's tokens are a piece of work (`slots.h`): slots of one expert.
// Heads have all tokens each, and a kernel of their own (`prefill_heads.h`).
//
// Layout. A lane's fragment of a packed weight is what `wgmma` takes from its registers, so weights
// become bfloat16 there. Zeros, and the scales beside them, are copied with the codes. Tokens come
// from shared memory, in the order of k that fragments have: `arrange` brings them to it first, in
// blocks of 128 tokens × 128 columns of 32 KiB,
//   [tokens / 8][16 eights of k][8 tokens][8 of k]   bfloat16, zeros beyond the last,
// where of 16 columns the even pairs (0, 1, 4, 5, 8, ...) are one eight and the odd the other. With
// codes (w8a8, fp8a8) both operands have 8 bits and their own order: a block is 16 KiB and 128
// scales, and the weights' codes go to `wgmma` as they lie.
//
// A block is three warpgroups. A warp of the third copies spans of 128 columns, codes and tokens,
// into three stages of shared memory, and goes on with the next tile's while this one's results
// are written. Each of the others has 64 rows and all tokens, 64 tokens after 64: while the tensor
// cores do one half, the other half's sums are multiplied with their scales, or the next codes
// become bfloat16. Sums of a part of the columns are in registers, totals in shared memory.
//
// Numbers: `wgmma` gives the bits of `mma` for the same 16 columns in the same order, and sums of
// codes are exact; groups, parts and what follows are added as in `product.h`.
//
// Bounds of an H100, for 128 rows × 128 tokens × 128 columns: tensor cores 1,024 cycles; shared
// memory, 128 bytes a cycle, is read 64 KiB for tokens and once for codes; 48 KiB from the
// second-level cache for 8-bit codes, 64 KiB for bf16. What is measured follows the instructions
// of a warp: 93 for bf16, 267 for fp8, 354 for w8, 496 for w4 with its four groups. Codes with
// codes take 512 cycles, 48 KiB of shared memory and 33 from the cache; not yet run on a GPU.
//
// Ladder, on an H100 (2,048 tokens × 4,096 → 12,288; cuBLAS does 760 TF/s of bf16): all tokens at
// once, idle while sums were scaled: fp8 403, bf16 527. Halves by turns: 436 (with more than 315
// instructions), 570, w8 410, w4 352. Codes of fp8 in another order (`codes.h`): not measured.
// Whole prompts of Qwen-7B had 300 of these: of an output's 96 instructions most asked what there
// is to do, and what is added was waited for one by one, by eight warps. Now some 40 instructions,
// and addends asked for together (not measured).
// Codes that are not there are made where floats are arranged (`arrange_floats`): 9 bytes for
// each column and token, of 11 with a kernel between. Blocks that had 128 columns of a gated unit
// could write codes, 3 bytes; by arithmetic they would cost as much as that saves: 256 rows × 64
// tokens are 41 KiB from the cache for 33, two turns of a block as one leave more multiprocessors
// without work at the end.
// Tried: clusters of two blocks that share tokens, fp8 300; warpgroups that take turns, 391.
// Not yet: bf16 fragments of fp8 without the multiplication (2^120 in the scales instead).
#include "prefill_heads.h"

namespace {

/// 16 neighbouring inputs of a token, two and two; nothing beyond the last.
DEVICE void load_pairs(const uint16_t *row, int k, int inner, uint32_t (&pairs)[8]) {
  if (!row) return;
  if (k + 16 <= inner) {
    UNROLL for (int i = 0; i < 2; i++) {
      const Words4 four = *(const Words4 *)(row + k + 8 * i);
      pairs[4 * i] = four.x, pairs[4 * i + 1] = four.y;
      pairs[4 * i + 2] = four.z, pairs[4 * i + 3] = four.w;
    }
    return;
  }
  UNROLL for (int i = 0; i < 16; i++) {
    if (k + i < inner) pairs[i / 2] |= (uint32_t)row[k + i] << (i % 2 * 16);
  }
}

template <int format> DEVICE void prefill(const cu_prefill &op) {
  if (!has_wgmma) return;
  DYNAMIC_SHARED(Words4, memory);
  Prefill<format> block(op, (uint8_t *)memory);
  block.prepare_barriers();
  if (thread_index() >= math_threads) {
    leave_registers<24>();
    if (thread_index() < math_threads + 32) block.copy();
  } else {
    take_registers<240>();
    block.multiply();
  }
}

DEVICE void prefill_of_heads(const cu_prefill &op) {
  if (!has_wgmma) return;
  DYNAMIC_SHARED(Words4, memory);
  PrefillHeads block(op, (uint8_t *)memory);
  block.prepare_barriers(1 + PrefillHeads::copy_warps);
  if (thread_index() >= math_threads) {
    leave_registers<56>();
    block.copy();
  } else {
    take_registers<224>();
    block.multiply();
  }
}

}  // namespace

// Grid: as many blocks as there are multiprocessors; each takes work by turns.
#define PREFILL(name, format) \
  ALONE_KERNEL(prefill_##name, cu_prefill, cu_prefill_threads) { prefill<format>(op); }

PREFILL(bf16, cu_format_bf16)
PREFILL(fp8, cu_format_fp8)
PREFILL(w8, cu_format_w8)
PREFILL(w4, cu_format_w4)
PREFILL(w8a8, cu_format_w8a8)
PREFILL(fp8a8, cu_format_fp8a8)
PREFILL(int4_32, cu_format_int4_32)
PREFILL(int4_64, cu_format_int4_64)
PREFILL(int4_128, cu_format_int4_128)
PREFILL(int8_32, cu_format_int8_32)
PREFILL(int8_64, cu_format_int8_64)
PREFILL(int8_128, cu_format_int8_128)

// Matrices of heads, which are bf16. Grid: the same.
ALONE_KERNEL(prefill_heads, cu_prefill, cu_prefill_threads) { prefill_of_heads(op); }

// Grid: spans of columns, blocks of tokens (pieces of work).
KERNEL(arrange, cu_prefill, cu_threads) {
  const int span = block_x(), spans = spans_of(op.product);
  uint8_t *place = op.arranged
    + ((int64_t)block_y() * spans + span) * (cu_prefill_tokens * cu_span * 2);
  const Tokens tokens = prefill_tokens(op, block_y());
  if (tokens.count == 0) return;
  // Neighbouring threads take eight tokens, then 16 columns after 16.
  for (int item = thread_index(); item < cu_prefill_tokens * 8; item += cu_threads) {
    const int token = item / 64 * 8 + item % 8, step = item / 8 % 8;
    uint32_t pairs[8] = {};
    load_pairs(input_row(op.product, tokens, token), span * cu_span + step * 16,
               op.product.inner, pairs);
    Words4 *eights = (Words4 *)(place + item / 64 * 2048 + step * 256 + item % 8 * 16);
    eights[0] = {pairs[0], pairs[2], pairs[4], pairs[6]};
    eights[8] = {pairs[1], pairs[3], pairs[5], pairs[7]};
  }
}

namespace {

/// The codes of 16 columns, in order.
template <int format> DEVICE Words4 sixteen_codes(const uint8_t *span, int sixteen) {
  if (format == cu_format_fp8a8) return ((const Words4 *)span)[sixteen];
  // Of each of four lanes, a word.
  const uint32_t *words = (const uint32_t *)span + sixteen;
  return {words[0], words[8], words[16], words[24]};
}

template <int format> DEVICE void arrange_coded(const cu_prefill &op) {
  const int span = block_x(), spans = spans_of(op.product);
  uint8_t *place =
    op.arranged + ((int64_t)block_y() * spans + span) * cu_arranged_bytes((cu_format)format);
  const Tokens tokens = prefill_tokens(op, block_y());
  if (tokens.count == 0) return;
  for (int item = thread_index(); item < cu_prefill_tokens * 8; item += cu_threads) {
    const int token = item / 8, sixteen = item % 8;
    const uint8_t *row = coded_row(op.product, tokens, token);
    Words4 codes = {};
    if (row) codes = sixteen_codes<format>(row + span * cu_span, sixteen);
    *(Words4 *)(place + token / 8 * 1024 + sixteen * 128 + token % 8 * 16) = codes;
    if (sixteen > 0) continue;
    float *scales = (float *)(place + cu_prefill_tokens * cu_span);
    scales[token] = row ? scales_of_row(row, spans)[span] : 0.f;
  }
}

}  // namespace

// The same of codes: `[tokens / 8][8 sixteens of k][8 tokens][16 of k]`, then the tokens' scales.
KERNEL(arrange_codes, cu_prefill, cu_threads) { arrange_coded<cu_format_w8a8>(op); }
KERNEL(arrange_e4m3, cu_prefill, cu_threads) { arrange_coded<cu_format_fp8a8>(op); }

// The same of floats: who else makes codes of them would write them, to be read once more. Four
// lanes have a token's columns, a warp eight tokens.
KERNEL(arrange_floats, cu_prefill, cu_threads) {
  const int span = block_x(), spans = spans_of(op.product), quarter = thread_index() % 4;
  uint8_t *place =
    op.arranged + ((int64_t)block_y() * spans + span) * cu_arranged_bytes(cu_format_w8a8);
  const Tokens tokens = prefill_tokens(op, block_y());
  if (tokens.count == 0) return;
  for (int token = thread_index() / 4; token < cu_prefill_tokens; token += cu_threads / 4) {
    SpanColumns<4> columns = {};
    const float *row = float_row(op.product, tokens, token);
    if (row) columns.load(row, span, op.product.inner);
    uint32_t words[SpanColumns<4>::count];
    const float scale = columns.make(op.product.code, words);
    uint8_t *of_token = place + token / 8 * 1024 + token % 8 * 16;
    UNROLL for (int i = 0; i < 8; i++) ((uint32_t *)(of_token + i * 128))[quarter] = words[i];
    float *scales = (float *)(place + cu_prefill_tokens * cu_span);
    if (quarter == 0) scales[token] = row ? scale : 0.f;
  }
}
