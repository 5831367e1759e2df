// SPDX-License-Identifier: Apache-2.0
// What each kernel is launched with: one structure by value, the same for Swift, for nvcc and for
// the emulation. All pointers are of the device. Floats are 32 bits; `rows` counts rows of a step.
#pragma once
#include "cache_layout.h"
#include "formats.h"

/// A step, brought by the first kernel of it (`ring.cu`).
typedef struct cu_step {
  /// Counts by row space: [0] tokens, [1] outputs.
  int32_t counts[2];
  int32_t block_tokens;
  int32_t slice_index;
  int32_t slice_count;
  /// Of the blocks of a step that is one launch; see `one_launch.cu`. The kernels' alone.
  uint32_t arrivals;
  const int32_t *tokens;
  const int32_t *positions;
  /// For each row, where its sequence's blocks begin in `blocks`.
  const int32_t *row_blocks;
  const int32_t *output_rows;
  const int32_t *blocks;
} cu_step;

/// Where a step comes from and where it goes.
typedef struct cu_fetch {
  /// Of the host, mapped: a `cu_step` whose pointers are those of the GPU's arrays, and the arrays.
  const void *slot;
  cu_step *step;
  void *arrays;
  /// Of 16 bytes; 0: a copy has brought the arrays.
  int32_t array_words, unused;
} cu_fetch;

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

/// Rows of codes of 8 bits, as products with codes read them; see `coded_rows.h`. Null for none.
typedef struct cu_codes {
  uint8_t *rows;
  /// Bytes from one row to the next: `cu_coded_row_bytes`.
  int64_t stride;
  /// `cu_code`
  int32_t code;
  int32_t unused;
} cu_codes;

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
  /// The output once more.
  cu_codes codes;
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
  /// Rows of bfloat16, or coded rows (`cu_takes_codes`); the stride in elements, or bytes. Of
  /// kernels that make the codes, rows of floats, with room for whole fours.
  const void *input;
  int64_t input_stride;
  cu_product_part parts[cu_product_parts_max];
  int32_t part_count;
  /// The first part's rows open the second's: `output = g / (1 + exp(-g)) · u`, where the first's
  /// would be.
  int32_t is_gated;
  /// What is added to the output of a single part, one after the other; null for nothing.
  const float *addends[cu_product_addends_max];
  int64_t addend_strides[cu_product_addends_max];
  /// Of few tokens, the first of those may be rows of what experts give, `top_k` for each row, of
  /// which the weighted sum is added, as `cu_combine` has it; null where it is not.
  const struct cu_choice *choices;
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
  int32_t splits;
  /// `cu_code`, of kernels that make the codes.
  int32_t code;
  float *workspace;
  int32_t top_k, unused;
} cu_product;

/// Gated units of the experts that few tokens chose, and of those that all share: as two products.
typedef struct cu_units {
  cu_product routed, shared;
  /// Pieces of work, and tiles of the shared gate.
  int32_t work_count, shared_tiles;
} cu_units;

/// A product of few tokens whose blocks norm its input themselves.
typedef struct cu_normed_product {
  cu_product product;
  /// Its output is the product's input, and is not written.
  cu_norm norm;
} cu_normed_product;

/// A product of many tokens with one matrix, with each head's, or of each expert's slots with its
/// own, by `wgmma`.
typedef struct cu_prefill {
  cu_product product;
  /// The inputs in whole blocks of tokens and columns; see `prefill.cu`. Heads need none.
  uint8_t *arranged;
  /// Pieces of work of experts, those that are empty among them; matrices without experts.
  int32_t work_count, matrices;
} cu_prefill;

/// What attention reads of the step's rows: queries, as bfloat16, to rows of their own, keys and
/// values into the cache. Each in two parts behind each other, of which the second may be empty; a
/// part of queries without data is written by what makes it.
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
  /// Of the norm that compressed keys are still to have, which the last block of a row does; null
  /// for none.
  const float *norm_weight;
  float norm_epsilon;
  int32_t unused;
} cu_store;

/// Compressed queries of few rows, a product of heads, and in blocks behind it all else that
/// attention reads of them.
typedef struct cu_latent {
  cu_product product;
  cu_store store;
  int32_t heads, unused;
} cu_latent;

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
  /// The output once more, by `merge_codes`.
  cu_codes codes;
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

/// What heads make of the latents that few rows attended to, of the sums of their parts.
typedef struct cu_latent_values {
  cu_product product;
  cu_attention attention;
} cu_latent_values;

/// Cached tokens of a sequence whose latents are brought together, eight columns to a thread.
typedef struct cu_gather {
  const cu_step *step;
  cu_cache cache;
  /// `stride` elements from one token to the next: latent columns, from `rotary_place` on rotary
  /// ones; each padded to eight.
  uint16_t *output;
  int64_t stride;
  int32_t latent, rotary, rotary_place;
  /// A row of the sequence.
  int32_t row;
  /// The first token, how many there are, and how many rows are written.
  int32_t first_key, keys, rows;
  /// Whether eight neighbouring columns of a row in bfloat16 can be read at once.
  int32_t is_aligned;
} cu_gather;

/// Attention of a chunk's rows to a portion of their sequence's tokens, each head with keys and
/// values of its own; see `attention_expanded.cu`.
typedef struct cu_expanded {
  /// Its cache are the portion's expanded keys and values, token by token; a row's part is what the
  /// portions so far gave. From `first_row` on, `rows` are the chunk's.
  cu_attention attention;
  /// Columns that the keys of all heads end with, `rotary_stride` elements from token to token.
  const uint16_t *rotary;
  int64_t rotary_stride;
  int32_t rotary_width, rows;
  /// The portion's first token, and how many it has.
  int32_t first_key, keys;
} cu_expanded;

/// What slices of the keys gave each, and where their merge goes.
typedef struct cu_slices {
  const cu_step *step;
  /// The first slice's output, in floats, which becomes the merge's.
  cu_rows output;
  /// Its log-sum-exps: `[rows, heads]`, rows `log_stride` apart.
  const float *log_sum_exp;
  int64_t log_stride;
  /// The other slices' outputs, in such rows; `log_offset` floats behind each its log-sum-exps.
  const float *others[cu_slices_max - 1];
  int64_t log_offset;
  /// Slices, the first among them.
  int32_t count;
  /// Heads, and columns of one's output.
  int32_t heads, width, unused;
} cu_slices;

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
  /// Blocks that score, of which the last to come chooses, where it does; and how many have come, 0
  /// at the begin of a step and behind each router.
  uint32_t blocks;
  uint32_t *arrivals;
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

/// Rows of floats, as bfloat16 elsewhere.
typedef struct cu_narrow_rows {
  const cu_step *step;
  cu_rows rows;
  int32_t width, space;
} cu_narrow_rows;

/// Rows of floats as codes; `rows_each` of them for a row of the step.
typedef struct cu_quantize {
  const cu_step *step;
  const float *input;
  int64_t input_stride;
  cu_codes output;
  int32_t width, space, rows_each, unused;
} cu_quantize;

/// Floats to bfloat16, as they lie.
typedef struct cu_narrow {
  const float *source;
  uint16_t *destination;
  int64_t count;
} cu_narrow;

#include "sample_arguments.h"
#include "tasks.h"
