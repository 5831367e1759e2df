// SPDX-License-Identifier: Apache-2.0
// Sizes of blocks, and how weights and inputs of products lie in memory: the same for Swift, for
// nvcc and for the emulation.
#pragma once
#include <stdint.h>

enum {
  /// Threads of a block, but of what chooses experts.
  cu_threads = 256,
  /// Rows of a weight in a tile, and warps of a block that share its sum.
  cu_tile_rows = 16,
  cu_product_warps = 8,
  /// Columns of a weight that one warp takes in turn: whole scale groups.
  cu_span = 128,
  /// Tokens of a product's block, at most.
  cu_product_tokens_max = 64,
  /// Parts of a weight that have places of their own, and what is added to an output.
  cu_product_parts_max = 3,
  /// Tokens of a product's block of few, and warps of a block of many, at most.
  cu_few_tokens = 8,
  cu_many_warps_max = 10,
  cu_many_warps_few = 8,
  cu_many_warps_least = 6,
  cu_product_addends_max = 2,
  /// Spans on their way to a warp of a product of fp8a8, the present one among them.
  cu_coded_stages = 2,
  /// Shared memory for codes on their way to a product that is part of one launch for a step.
  cu_launch_ring_bytes = 160 << 10,
  /// Shared memory for rows that a block of a product norms itself, at most: what two blocks with
  /// weights in bfloat16 leave of a multiprocessor's.
  cu_normed_rows_bytes = 17 << 10,
  /// What such a launch declares beside, at most (`resources.txt`).
  cu_launch_declared_bytes = 42 << 10,
  /// Rows of a weight and tokens of a block of products of many tokens, its threads, how many spans
  /// it has on their way, and its shared memory.
  cu_prefill_rows = 128,
  cu_prefill_tokens = 128,
  cu_prefill_threads = 384,
  cu_prefill_stages = 3,
  cu_prefill_shared_bytes = 230656,
  /// Keys that attention takes at once; of those, tiles of a group at least, and groups of a row's
  /// keys at most.
  cu_tile_keys = 64,
  cu_group_tiles_min = 4,
  cu_key_groups_max = 32,
  /// Parts of a row's keys that are attended to apart, at most.
  cu_key_parts_max = 64,
  /// Query heads of a block; heads times tokens of a window's, for few and for many value columns.
  cu_tile_heads = 16,
  cu_window_heads_few = 64,
  cu_window_heads_many = 32,
  /// Value columns of a block of attention, of few and of many, and columns of a key, at most.
  cu_value_width_few = 128,
  cu_value_width_max = 512,
  cu_key_width_max = 1024,
  /// What a row of attention's shared memory has behind its columns, which are padded to so many:
  /// eight rows then lie in different banks.
  cu_bank_columns = 8,
  cu_key_padding = 32,
  cu_value_padding = 16,
  /// Slices of the keys that have devices of their own, at most.
  cu_slices_max = 64,
  /// Experts of a layer, and groups of them, at most.
  cu_experts_max = 1024,
  cu_expert_groups_max = 32,
  /// Threads of a block that chooses among some experts, and of one that chooses among many.
  cu_choose_threads = 1024,
  cu_choose_many_threads = 256,
  /// Rows whose choices are the bits of a mask.
  cu_mask_rows = 32,
  /// Columns of a block that sums the experts of a row.
  cu_combine_columns = 4 * cu_threads,
};

/// How a weight lies in memory; see `product.h`.
typedef enum cu_format {
  cu_format_bf16 = 0,
  cu_format_fp8 = 1,
  cu_format_w8 = 2,
  cu_format_w4 = 3,
  /// As w8, multiplied with codes of 8 bits; see `coded_rows.h`.
  cu_format_w8a8 = 4,
  /// bfloat16, of four neighbouring columns two, and which these are.
  cu_format_sparse = 5,
  /// Codes e4m3 as fp8, multiplied with codes e4m3; see `coded_rows.h`.
  cu_format_fp8a8 = 6,
  /// Codes that were calibrated, of 4 and 8 bits; as many columns share a scale and a zero.
  cu_format_int4_32 = 7,
  cu_format_int4_64 = 8,
  cu_format_int4_128 = 9,
  cu_format_int8_32 = 10,
  cu_format_int8_64 = 11,
  cu_format_int8_128 = 12,
} cu_format;

/// What the codes of a row are that products multiply with; see `coded_rows.h`.
typedef enum cu_code {
  cu_code_s8 = 0,
  cu_code_e4m3 = 1,
  /// Scales are powers of two.
  cu_code_e4m3_powers = 2,
} cu_code;

/// What the compiler of kernels must know, and the host too.
#if defined(__CUDACC__)
#define CU_KNOWN static __host__ __device__ constexpr
#elif defined(__cplusplus)
#define CU_KNOWN static constexpr
#else
#define CU_KNOWN static inline
#endif

/// Whether codes are less a zero, and their scales floats.
CU_KNOWN int32_t cu_has_zeros(cu_format format) { return format >= cu_format_int4_32; }
/// Whether what it is multiplied with are codes too, and not bfloat16.
CU_KNOWN int32_t cu_takes_codes(cu_format format) {
  return format == cu_format_w8a8 || format == cu_format_fp8a8;
}
/// Whether a span of a tile has one scale, a float.
CU_KNOWN int32_t cu_has_block_scales(cu_format format) {
  return format == cu_format_fp8 || format == cu_format_fp8a8;
}
/// Of an element of a weight, kept or not.
CU_KNOWN int32_t cu_code_bits(cu_format format) {
  if (format == cu_format_bf16) return 16;
  return format == cu_format_w4 || (cu_has_zeros(format) && format < cu_format_int8_32) ? 4 : 8;
}
/// Columns that share a scale; of bf16, which has none, as if a span did, and of sparse those of a
/// fragment, each of which has its masks.
CU_KNOWN int32_t cu_scale_group(cu_format format) {
  switch (format) {
  case cu_format_sparse: return 16;
  case cu_format_w4: case cu_format_int4_32: case cu_format_int8_32: return 32;
  case cu_format_int4_64: case cu_format_int8_64: return 64;
  default: return cu_span;
  }
}
/// Bytes of a span of a tile: of its codes, and of its scales and zeros, or masks.
CU_KNOWN int32_t cu_span_bytes(cu_format format) {
  return cu_tile_rows * cu_span * cu_code_bits(format) / 8;
}
CU_KNOWN int32_t cu_span_scale_bytes(cu_format format) {
  const int32_t groups = cu_span / cu_scale_group(format);
  if (format == cu_format_bf16) return 0;
  if (cu_has_block_scales(format)) return 4;
  if (format == cu_format_sparse) return cu_tile_rows * cu_span / 8;
  return groups * cu_tile_rows * (cu_has_zeros(format) ? 5 : 2);
}
/// Bytes of a coded row: the codes of whole spans, then a float for each span, in whole fours.
CU_KNOWN int32_t cu_coded_row_bytes(int32_t spans) {
  return spans * cu_span + (spans + 3) / 4 * 16;
}
/// Bytes from one token's inputs of a span to the next one's in shared memory: eight rows are in
/// all banks. Behind codes are the four scales of which one is the span's.
CU_KNOWN int32_t cu_shared_input_bytes(cu_format format) {
  return cu_takes_codes(format) ? cu_span + 16 : cu_span * 2 + 32;
}
/// Tokens whose codes a product's blocks make themselves, at most. A warp has some 600 instructions
/// for each span while an H100's memory gives its weights; codes of 128 columns take some 60 of
/// them, those of e4m3 140.
CU_KNOWN int32_t cu_made_tokens(cu_format format) { return format == cu_format_fp8a8 ? 2 : 4; }
/// Bytes of a row that a product's blocks norm themselves: whole spans, of bfloat16 so far apart as
/// above.
CU_KNOWN int32_t cu_normed_row_bytes(cu_format format, int32_t spans) {
  return cu_takes_codes(format) ? cu_coded_row_bytes(spans) : spans * cu_span * 2 + 32;
}
/// Bytes of a block of tokens' inputs of a span, as products of many tokens have them.
CU_KNOWN int32_t cu_arranged_bytes(cu_format format) {
  return cu_prefill_tokens * (cu_takes_codes(format) ? cu_span + 4 : cu_span * 2);
}
/// Spans on their way to a warp of some tiles, the present one among them: few enough for several
/// blocks a multiprocessor.
CU_KNOWN int32_t cu_stages(cu_format format, int32_t tiles) {
  return (cu_code_bits(format) == 4 ? 5 : 3) - (tiles > 1);
}
/// The same in one launch for a step, of which a multiprocessor has one block.
CU_KNOWN int32_t cu_launch_stages(cu_format format, int32_t tiles) {
  const int32_t room = cu_launch_ring_bytes / (cu_product_warps * tiles * cu_span_bytes(format));
  return room < 6 ? room : 6;
}
/// Warps of a block of many tokens, at most: scales and zeros of more groups need more registers,
/// and so do scales of inputs.
CU_KNOWN int32_t cu_many_warps(cu_format format) {
  if (!cu_has_zeros(format)) {
    const int32_t needs_more = format == cu_format_w4 || cu_takes_codes(format);
    return needs_more ? cu_many_warps_few : cu_many_warps_max;
  }
  return cu_scale_group(format) == 32 ? cu_many_warps_least : cu_many_warps_few;
}
/// Shared memory of a block of fp8a8 for up to so many tokens: of each warp its tiles' codes of a
/// span, and the tokens' codes and scales.
CU_KNOWN int32_t cu_coded_bytes(int32_t tokens, int32_t tiles) {
  const int32_t of_tokens = tokens * cu_shared_input_bytes(cu_format_fp8a8);
  return cu_product_warps * cu_coded_stages * (tiles * cu_span_bytes(cu_format_fp8a8) + of_tokens);
}
/// Shared memory of a block of a product of few tokens, with so many tiles.
static inline int32_t cu_few_bytes(cu_format format, int32_t tiles) {
  if (format == cu_format_fp8a8) return cu_coded_bytes(cu_few_tokens, tiles);
  return cu_product_warps * cu_stages(format, tiles) * tiles * cu_span_bytes(format);
}
static inline int32_t cu_launch_few_bytes(cu_format format, int32_t tiles) {
  return cu_product_warps * cu_launch_stages(format, tiles) * tiles * cu_span_bytes(format);
}
/// Shared memory of a block of a product of many: codes and inputs, later its results.
static inline int32_t cu_many_bytes(cu_format format, int32_t tokens, int32_t warps) {
  const int32_t stage = warps * cu_span_bytes(format) + tokens * cu_shared_input_bytes(format);
  const int32_t results = tokens * (warps * cu_tile_rows + 4) * 4;
  const int32_t stages = cu_stages(format, 1) * stage;
  return stages > results ? stages : results;
}
