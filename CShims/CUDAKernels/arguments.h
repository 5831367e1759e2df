// SPDX-License-Identifier: Apache-2.0
// What each kernel is launched with: one structure by value, the same for Swift, for nvcc and for
// the emulation. All pointers are of the device. Floats are 32 bits; `rows` counts rows of a step.
#pragma once
#include "cache_layout.h"
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
  /// Columns of a block that looks for the largest of a row.
  cu_largest_columns = 16 * cu_threads,
  cu_product_addends_max = 2,
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
  /// Codes that were calibrated, of 4 and 8 bits; as many columns share a scale and a zero.
  cu_format_int4_32 = 4,
  cu_format_int4_64 = 5,
  cu_format_int4_128 = 6,
  cu_format_int8_32 = 7,
  cu_format_int8_64 = 8,
  cu_format_int8_128 = 9,
} cu_format;

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
/// Of an element of a weight.
CU_KNOWN int32_t cu_code_bits(cu_format format) {
  if (format == cu_format_bf16) return 16;
  return format == cu_format_w4 || (cu_has_zeros(format) && format < cu_format_int8_32) ? 4 : 8;
}
/// Columns that share a scale; of bf16, which has none, as if a span did.
CU_KNOWN int32_t cu_scale_group(cu_format format) {
  switch (format) {
  case cu_format_w4: case cu_format_int4_32: case cu_format_int8_32: return 32;
  case cu_format_int4_64: case cu_format_int8_64: return 64;
  default: return cu_span;
  }
}
/// Bytes of a span of a tile: of its codes, and of its scales and zeros.
CU_KNOWN int32_t cu_span_bytes(cu_format format) {
  return cu_tile_rows * cu_span * cu_code_bits(format) / 8;
}
CU_KNOWN int32_t cu_span_scale_bytes(cu_format format) {
  const int32_t groups = cu_span / cu_scale_group(format);
  if (format == cu_format_bf16) return 0;
  if (format == cu_format_fp8) return 4;
  return groups * cu_tile_rows * (cu_has_zeros(format) ? 5 : 2);
}
/// Spans on their way to a warp of some tiles, the present one among them: few enough for several
/// blocks a multiprocessor.
CU_KNOWN int32_t cu_stages(cu_format format, int32_t tiles) {
  return (cu_code_bits(format) == 4 ? 5 : 3) - (tiles > 1);
}
/// Warps of a block of many tokens, at most: scales and zeros of more groups need more registers.
CU_KNOWN int32_t cu_many_warps(cu_format format) {
  if (!cu_has_zeros(format)) {
    return format == cu_format_w4 ? cu_many_warps_few : cu_many_warps_max;
  }
  return cu_scale_group(format) == 32 ? cu_many_warps_least : cu_many_warps_few;
}
/// Shared memory of a block of a product of few tokens, with so many tiles.
static inline int32_t cu_few_bytes(cu_format format, int32_t tiles) {
  return cu_product_warps * cu_stages(format, tiles) * tiles * cu_span_bytes(format);
}
/// Shared memory of a block of a product of many: codes and inputs, later its results.
static inline int32_t cu_many_bytes(cu_format format, int32_t tokens, int32_t warps) {
  const int32_t stage = warps * cu_span_bytes(format) + tokens * (cu_span * 2 + 32);
  const int32_t results = tokens * (warps * cu_tile_rows + 4) * 4;
  const int32_t stages = cu_stages(format, 1) * stage;
  return stages > results ? stages : results;
}

/// A step, written by one copy at its begin.
typedef struct cu_step {
  /// Counts by row space: [0] tokens, [1] outputs.
  int32_t counts[2];
  int32_t block_tokens;
  int32_t slice_index;
  int32_t slice_count;
  int32_t unused;
  const int32_t *tokens;
  const int32_t *positions;
  /// For each row, where its sequence's blocks begin in `blocks`.
  const int32_t *row_blocks;
  const int32_t *output_rows;
  const int32_t *blocks;
} cu_step;

/// `count` groups of `width` columns, `group` floats apart, in rows `stride` floats apart.
typedef struct cu_columns {
  float *data;
  int64_t stride;
  int32_t group;
  int32_t count;
  int32_t width;
  int32_t unused;
} cu_columns;

/// Where an operation writes: floats, bfloat16 for the products that follow, or both; null for not.
typedef struct cu_rows {
  float *floats;
  uint16_t *narrow;
  int64_t stride;
} cu_rows;

typedef struct cu_embed {
  const cu_step *step;
  const void *table;
  cu_rows output;
  int32_t width;
  int32_t table_is_bf16;
} cu_embed;

typedef struct cu_norm {
  const cu_step *step;
  cu_columns input;
  const float *weight;
  cu_rows output;
  float epsilon;
  int32_t space;
} cu_norm;

/// Cosines and sines of the step's positions: `[rows, pairs]`, `(cosine, sine)` each.
typedef struct cu_angles {
  const cu_step *step;
  const float *inverse_frequencies;
  float *angles;
  int32_t pairs;
  float magnitude;
} cu_angles;

/// How columns are turned by their rows' positions (`rope.h`); without angles they are not.
typedef struct cu_turn {
  const float *angles;
  int32_t interleaved;
  int32_t unused;
} cu_turn;

typedef struct cu_rope {
  const cu_step *step;
  cu_columns columns;
  cu_turn turn;
} cu_rope;

/// What a block of a product with experts does: `count` slots of one expert, from `order[first]`
/// on.
typedef struct cu_expert_work {
  int32_t expert, first, count, unused;
} cu_expert_work;

/// Rows of a product's weight that have a place of their own: queries, keys and values are three
/// parts of one product, a gate and what it opens two.
typedef struct cu_product_part {
  const uint8_t *codes;
  const void *scales;
  /// `[columns]`; null for none.
  const float *bias;
  cu_rows output;
  /// Rows of the weight.
  int32_t columns;
  /// Tiles of this part and of those before.
  int32_t tiles_end;
} cu_product_part;

/// Products of matrices with rows: `output = input · weightᵀ + bias`, for `z` matrices.
typedef struct cu_product {
  const cu_step *step;
  /// Rows of bfloat16.
  const uint16_t *input;
  int64_t input_stride;
  cu_product_part parts[cu_product_parts_max];
  int32_t part_count;
  /// The first part's rows open the second's: `output = g / (1 + exp(-g)) · u`, where the first's
  /// would be.
  int32_t is_gated;
  /// What is added to the output of a single part, one after the other; null for nothing.
  const float *addends[cu_product_addends_max];
  int64_t addend_strides[cu_product_addends_max];
  /// From one matrix to the next: elements of input and output, bytes of codes and of scales.
  int64_t input_matrix, output_matrix, codes_matrix, scales_matrix;
  /// With experts, `z` is a piece of work: some slots of one matrix, by `order`; slot `s` reads
  /// the input row `s / slots_per_row` and writes the output row `s`. Null: every row of the step.
  const int32_t *order;
  const cu_expert_work *work;
  int32_t slots_per_row;
  int32_t space;
  /// Columns of the weight.
  int32_t inner;
  /// Whether eight neighbouring inputs can be read at once.
  int32_t input_is_aligned;
  /// Blocks that share the parts of the columns, and where they leave the parts' sums if more than
  /// one: `[matrix][part][token][row]`.
  int32_t splits, unused;
  float *workspace;
} cu_product;

/// A product of many tokens with one matrix, or of each expert's slots with its own, by `wgmma`.
typedef struct cu_prefill {
  cu_product product;
  /// The inputs as bfloat16 in whole blocks of tokens and columns; see `prefill.cu`.
  uint8_t *arranged;
  /// Pieces of work of experts, those that are empty among them.
  int32_t work_count, unused;
} cu_prefill;

/// What attention reads of the step's rows: queries, as bfloat16, to rows of their own, keys and
/// values into the cache. Each in two parts behind each other, of which the second may be empty.
typedef struct cu_store {
  const cu_step *step;
  cu_columns queries[2], keys[2];
  cu_turn query_turns[2], key_turns[2];
  /// `[rows, heads]`, `query_stride` elements each.
  uint16_t *query_rows;
  cu_cache cache;
  int32_t query_stride;
  /// Blocks that share a row; of a cache in FP8, how many of them have what stays bfloat16.
  int32_t spread, plain_spread;
  /// Whether four neighbouring columns can be read and written at once.
  int32_t is_aligned;
} cu_store;

/// Of which keys a block of attention gives one sum.
typedef enum cu_key_parts {
  /// Of a tile, or of a group where there are more than `cu_key_parts_max` tiles.
  cu_key_parts_tiles = 0,
  cu_key_parts_groups = 1,
  cu_key_parts_all = 2,
} cu_key_parts;

typedef struct cu_attention {
  const cu_step *step;
  /// `[rows, heads]`, `query_stride` elements each.
  const uint16_t *queries;
  cu_cache cache;
  cu_rows output;
  /// `[rows, heads]`, rows `log_stride` apart; null if nobody asks.
  float *log_sum_exp;
  int64_t log_stride;
  /// `[row - first_row, head, part]`: sums of values, rows padded to `cu_value_padding` columns;
  /// largest score and denominator.
  float *part_sums;
  float *part_scores;
  int32_t key_heads, heads_per_key;
  int32_t key_width, value_width;
  int32_t first_row;
  /// `cu_key_parts`, and room for how many parts of a row.
  int32_t parts, part_room;
  /// Blocks that share a row's parts.
  int32_t spread;
  /// Tokens of a window whose rows are attended to together where they can; 0: nowhere.
  int32_t window;
  /// Tiles of keys on their way that there is shared memory for: 1 or 2. In FP8 they are beside the
  /// one in use.
  int32_t stages;
  /// Whether 16 bytes of queries and of the cache can be read at once.
  int32_t is_aligned;
  int32_t query_stride;
  float scale;
  int32_t unused;
} cu_attention;

/// An expert chosen for a row, and what its result is multiplied with.
typedef struct cu_choice {
  int32_t expert;
  float weight;
} cu_choice;

/// Experts scored, chosen, and the slots (a row's choices) sorted by expert.
typedef struct cu_route {
  const cu_step *step;
  const float *input;
  int64_t input_stride;
  const float *weight;
  /// `[experts]`; null for none.
  const float *bias;
  /// `[rows, experts]`
  float *scores;
  cu_choice *choices;
  /// `[rows · top_k]`
  int32_t *order;
  /// `[work_count]`: the slots of each expert in parts of up to `work_slots`; the rest has none.
  cu_expert_work *work;
  /// `[ceil(rows / cu_mask_rows), experts]`: the rows that chose each.
  uint32_t *masks;
  int32_t inner, experts, top_k;
  int32_t groups, kept_groups, group_by_two_largest;
  int32_t sigmoid, normalize;
  float scale;
  int32_t work_count, work_slots;
  int32_t unused;
} cu_route;

typedef struct cu_combine {
  const cu_step *step;
  const cu_choice *choices;
  const float *parts;
  int64_t parts_stride;
  cu_rows output;
  int32_t top_k, width;
} cu_combine;

/// Two inputs, one output, row by row.
typedef struct cu_binary {
  const cu_step *step;
  const float *left;
  const float *right;
  cu_rows output;
  int64_t left_stride, right_stride;
  int32_t left_width, right_width;
  int32_t space, unused;
} cu_binary;

typedef struct cu_select {
  const cu_step *step;
  const float *input;
  cu_rows output;
  int64_t input_stride;
  int32_t width, unused;
} cu_select;

/// Rows `[rows, columns]` of a weight as floats, to a place in its packed form.
typedef struct cu_pack {
  const float *source;
  uint8_t *codes;
  void *scales;
  /// Elements from one packed row of the source to the next, and from a column to the next: a
  /// weight is packed transposed by exchanging them.
  int64_t row_stride, column_stride;
  /// For FP8: the scale of each block, `[ceil(rows / block_rows), blocks_per_row]`; else null.
  const float *block_scales;
  int32_t block_rows, block_columns, blocks_per_row;
  /// The first row, a multiple of `cu_tile_rows`, and rows of this call.
  int32_t first_row;
  int32_t rows, columns;
  /// Columns of the packed form, padded to whole spans, and of a scale.
  int32_t padded_columns, group;
  int32_t format;
  int32_t unused;
} cu_pack;

/// Integers of 4 or 8 bits in two dimensions as a checkpoint has them, several rows of a column or
/// columns of a row in a word. Strides and places are in half bytes.
typedef struct cu_integers {
  const uint8_t *bytes;
  /// From 16 rows to the next, from one word to the next below it, and beside it.
  int64_t tile_stride, row_stride, column_stride;
  /// Of how many rows, and of how many columns, the elements of a word are: 1 << shift.
  int32_t row_shift, column_shift;
  /// Half byte i is the place of element i in its word.
  uint32_t order;
  /// An integer is `(stored + bias) & mask`.
  uint8_t bits, bias, mask, unused;
} cu_integers;

typedef enum cu_scale_type {
  cu_scale_f32 = 0,
  cu_scale_f16 = 1,
  cu_scale_bf16 = 2,
} cu_scale_type;

/// Scales of rows and of groups of columns; strides in elements, from 16 rows to the next too.
typedef struct cu_stored_scales {
  const void *values;
  int64_t tile_stride, row_stride, group_stride;
  int32_t type, unused;
} cu_stored_scales;

/// Some tiles and spans of a calibrated weight, to a place in its packed form.
typedef struct cu_pack_codes {
  /// Of the first tile and span of this call.
  cu_integers integers;
  /// Of the whole weight; without bytes for zeros, these are the middle of the codes.
  cu_integers zeros;
  cu_stored_scales scales;
  uint8_t *codes;
  uint8_t *factors;
  int32_t first_tile, tiles, first_span, spans;
  /// Of the weight.
  int32_t rows, columns;
  /// Columns of the packed form, and columns that share a scale where the weight comes from.
  int32_t padded_columns, group;
  int32_t format;
  int32_t unused;
} cu_pack_codes;

/// Something to do, for the time it takes.
typedef struct cu_measure {
  const void *source;
  uint32_t *output;
  int64_t bytes;
  int32_t repeats;
  int32_t unused;
} cu_measure;

/// The largest of each row, as numbers that are ordered as the floats are: the float's bits in the
/// upper half, lower columns larger in the lower; all ones where one is no finite number.
typedef struct cu_largest {
  const float *rows;
  int64_t stride;
  uint64_t *keys;
  int32_t width, unused;
} cu_largest;

/// Rows of floats, as bfloat16 elsewhere.
typedef struct cu_narrow_rows {
  const cu_step *step;
  cu_rows rows;
  int32_t width, space;
} cu_narrow_rows;

/// Floats to bfloat16, as they lie.
typedef struct cu_narrow {
  const float *source;
  uint16_t *destination;
  int64_t count;
} cu_narrow;
