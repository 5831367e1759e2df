// SPDX-License-Identifier: Apache-2.0
// CPU kernels. A model is lowered once to phases: a kernel and its arguments. In a step, all
// workers run the same phases with a barrier after each; within a phase they claim units of work
// (columns, heads, rows), and parts of one sum only where these are fixed and joined in order (of a
// context), so no result depends on the number of workers.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "tensors.h"

/// The nearest bfloat16, of two the even one; a NaN stays one.
uint16_t ck_to_bf16(float value);

/// Columns of output that lie side by side in a panel; panels and rows of a unit of work, at most.
/// So many rows' codes stay in L2 while a worker goes over one unit after the other.
enum { CK_PANEL = 16, CK_UNIT_PANELS = 4, CK_UNIT_ROWS = 256 };

// MARK: Codes

/// Inner indices that share a scale: of activations and W8, and of W4. Activations with outliers
/// have a scale for each `CK_CODE_PART` of a group. Panels of codes are padded to whole
/// `CK_INNER_PADDING` inner indices.
enum { CK_CODE_GROUP = 128, CK_W4_GROUP = 32, CK_CODE_PART = 32, CK_INNER_PADDING = 32 };
enum { CK_CODE_PARTS = CK_CODE_GROUP / CK_CODE_PART };

static inline int64_t ck_padded_inner(int64_t inner) {
  return (inner + CK_INNER_PADDING - 1) / CK_INNER_PADDING * CK_INNER_PADDING;
}

/// Bytes of a packed matrix's panels, without scales; of FP8, which has no panels, of its codes.
static inline int64_t ck_panel_bytes(ck_type type, int64_t inner, int64_t columns) {
  const int64_t padded = (columns + CK_PANEL - 1) / CK_PANEL * CK_PANEL;
  switch (type) {
    case CK_W4:
    case CK_INT4: return padded * ck_padded_inner(inner) / 2;
    case CK_W8:
    case CK_INT8: return padded * ck_padded_inner(inner);
    case CK_BF16: return padded * inner * 2;
    case CK_FP8: return columns * inner;
    default: return padded * inner * 4;
  }
}

/// Groups of weights that share a scale, of so many inner indices.
static inline int64_t ck_scale_groups(ck_type type, int64_t inner) {
  const int64_t group = type == CK_W8 ? CK_CODE_GROUP : CK_W4_GROUP;
  return (inner + group - 1) / group;
}

/// Whether a matrix of that type multiplies codes of activations: of FP8 if it is FP8 itself.
static inline int ck_takes_codes(ck_type type) {
  return type == CK_W8 || type == CK_W4 || type == CK_INT8 || type == CK_INT4 || type == CK_FP8;
}

/// A group of activations, in parts of 32: x = scale * code, and the sum of the codes. FP8 has the
/// first scale alone.
typedef struct {
  float scales[CK_CODE_PARTS];
  int32_t sums[CK_CODE_PARTS];
} ck_code_group;

/// Rows of activations as signed bytes, or as FP8 (without sums).
typedef struct {
  /// `[rows][group_count * CK_CODE_GROUP]`; zeros behind the width of a row.
  int8_t *codes;
  /// `[rows][group_count]`
  ck_code_group *groups;
  int64_t group_count;
  /// Whether the parts of a group have scales of their own; else all of them the same.
  int in_parts;
} ck_codes;

// MARK: Caches

/// Tokens of a cache that lie side by side: a group. Words that may be read behind a cache.
enum { CK_GROUP_TOKENS = 16, CK_CACHE_PADDING = 256 };

/// Keys and values of a layer, in words of 32 bits: an f32, or two bf16, the first in the low half.
/// A block is a whole number of groups. A group has, for each head, its keys as a panel, `[words of
/// a key][16 tokens]`, and its values, `[16 tokens][words of a value]`.
typedef struct {
  uint32_t *words;
  /// CK_F32 or CK_BF16.
  ck_type type;
  int64_t heads, key_width;
  /// 0: a value is the beginning of its key.
  int64_t value_width;
} ck_cache;

static inline int64_t ck_cache_words(const ck_cache *cache, int64_t width) {
  return cache->type == CK_BF16 ? (width + 1) / 2 : width;
}

/// Words of one head of a group.
static inline int64_t ck_group_words(const ck_cache *cache) {
  return CK_GROUP_TOKENS * (ck_cache_words(cache, cache->key_width)
                            + ck_cache_words(cache, cache->value_width));
}

static inline int64_t ck_block_groups(int64_t block_tokens) {
  return (block_tokens + CK_GROUP_TOKENS - 1) / CK_GROUP_TOKENS;
}

// MARK: A step

typedef struct {
  int64_t first_row, rows;
  /// Position of the first row.
  int64_t position;
  /// Cache blocks of the whole sequence.
  const int32_t *blocks;
} ck_sequence;

typedef struct {
  int64_t rows, outputs;
  const int32_t *tokens;       // [rows]
  const int32_t *positions;    // [rows]
  const int32_t *row_sequence; // [rows], index into sequences
  const int32_t *output_rows;  // [outputs]
  const ck_sequence *sequences;
  int64_t sequence_count;
  int64_t block_tokens;
  int64_t slice_index, slice_count;
} ck_step;

// MARK: Workers

typedef struct ck_pool ck_pool;

typedef struct {
  ck_pool *pool;
  int index;
  /// Memory of this worker alone; as large as `ck_pool_reserve` made it.
  float *scratch;
} ck_worker;

typedef void (*ck_kernel)(const void *arguments, const ck_step *step, ck_worker *worker);

typedef struct {
  ck_kernel kernel;
  const void *arguments;
} ck_phase;

/// Starts `threads - 1` workers; the thread that runs phases is worker 0. `cpus`, if there are any,
/// pins worker `i` to `cpus[i % cpu_count]`. NULL if a thread cannot be started.
ck_pool *ck_pool_create(int threads, const int *cpus, int cpu_count);
/// Makes `scratch` at least so many floats large. 0, or an errno.
int ck_pool_reserve(ck_pool *pool, int64_t floats);
/// Runs phases in order on all workers and waits for them. One thread at a time.
void ck_pool_run(ck_pool *pool, const ck_phase *phases, int64_t count, const ck_step *step);
void ck_pool_destroy(ck_pool *pool);
int ck_pool_threads(const ck_pool *pool);
/// The next unit of the current phase: 0, 1, 2, … over all workers.
int64_t ck_claim(ck_worker *worker);

// MARK: Arguments of kernels

/// Scales and zeros of INT8 and INT4, `[panel][group][16 columns]`.
typedef struct {
  float *scales;
  uint8_t *zeros;
  /// Inner indices that share them: 32, 64 or a multiple of 128.
  int64_t group;
} ck_code_factors;

/// Packs a matrix into panels, missing columns being 0: `[k][16 columns]` of f32 or bf16 (rounded
/// to nearest, ties to even); `[k / 4][16 columns][4]` bytes of W8; `[k / 8][16 columns][4]` bytes
/// of W4, those of k … k + 3 in the low, those of k + 4 … k + 7 in the high half. A weight is its
/// group's scale times (byte - 128), or (nibble - 8). INT8 and INT4 lie as W8 and W4, but a weight
/// is its group's scale times (code - zero of the group); their source has codes of as many bits,
/// in groups of 32, 64 or a multiple of 128 neighbouring inner indices, and is not transposed.
typedef struct {
  ck_tensor source;
  /// The first of the stored rows used.
  int64_t first_row;
  /// Output column `n`, inner index `k` is the stored row `first_row + n`, column `k`; or,
  /// transposed, row `first_row + k`, column `n`.
  int transposed;
  int64_t inner, columns;
  /// CK_F32, CK_BF16, CK_W8, CK_W4, CK_INT8 or CK_INT4.
  ck_type type;
  void *panels;
  /// Of W8 and W4: bf16, `[panel][group][16 columns]`.
  uint16_t *scales;
  /// Of INT8 and INT4, in the same order.
  ck_code_factors factors;
} ck_pack;

/// Copies memory, each part by the worker that claims it.
typedef struct {
  const void *from;
  void *to;
  int64_t bytes;
} ck_copy;

/// `output[r] = input[r] · W + bias`, W being `inner × columns` in panels.
typedef struct {
  /// How many rows; read when the phase runs.
  const int64_t *rows;
  const float *input;
  int64_t input_stride;
  /// The input where W is of codes.
  ck_codes codes;
  /// Which rows of input and output row `r` is; NULL: `r` itself.
  const int32_t *input_rows;
  float *output;
  int64_t output_stride;
  const int32_t *output_rows;
  const void *panels;
  /// As in `ck_pack`.
  const uint16_t *scales;
  ck_code_factors factors;
  const float *bias;
  int64_t inner, columns;
  ck_type type;
} ck_gemm;

/// Where `type` is CK_FP8, `panels` are the stored codes, `[columns][inner]`, and `factors` has
/// their scales alone, `[columns][groups]` of `CK_CODE_GROUP` inner indices.
void ck_multiply_fp8(const ck_gemm *product, int64_t panel, int64_t end);

/// Independent products in one phase. A unit of work is some neighbouring panels of one of them, by
/// some of its rows.
typedef struct {
  const ck_gemm *products;
  int64_t count;
  int64_t unit_panels;
} ck_gemms;

/// silu(input · gate) * (input · up), with nothing in between written to memory that others see. A
/// unit of work is some neighbouring panels of one pair of products, by some of their rows.
typedef struct {
  /// Gate and up of each pair, one behind the other, in the same format and not FP8. Their outputs
  /// are not used, but for `output_rows`.
  const ck_gemm *gate_up;
  int64_t pairs;
  /// An even number, so that a unit has whole parts of codes.
  int64_t unit_panels;
  /// Where the results go: as floats, as codes in parts, or both; NULL for none of that kind.
  float *output;
  int64_t output_stride;
  ck_codes codes;
} ck_gated;

/// Floats of a worker's scratch memory, in which gates and ups wait.
enum { CK_GATED_COLUMNS = CK_UNIT_PANELS * CK_PANEL };
enum { CK_GATED_SCRATCH = 2 * CK_UNIT_ROWS * CK_GATED_COLUMNS };

/// Turns `rows * repeat` rows, `width` wide, into codes.
typedef struct {
  const int64_t *rows;
  int64_t repeat;
  const float *input;
  int64_t input_stride, width;
  ck_codes codes;
  /// Of FP8: whether scales are powers of two.
  int powers_of_two;
} ck_quantize;

/// Groups of columns of a value: group `g` of row `r` begins at `data + r * stride + g * group`.
typedef struct {
  float *data;
  int64_t stride, group, count, width;
} ck_columns;

typedef struct {
  ck_tensor table;
  float *output;
  int64_t width;
} ck_embed;

/// Normalises `input`, or `input + addend`, which then goes to `sum`.
typedef struct {
  const int64_t *rows;
  ck_columns input;
  /// Rows as wide as the input, one behind the other; NULL for none.
  const float *addend;
  float *sum;
  const float *weight;
  float epsilon;
  float *output;
  /// The output as codes too, unless NULL.
  ck_codes codes;
} ck_norm;

/// Sines and cosines of the step's positions, `[rows][pairs]`, times magnitude.
typedef struct {
  const float *inverse_frequencies;
  int64_t pairs;
  float magnitude;
  float *cosines, *sines;
} ck_angles;

typedef struct {
  ck_columns columns;
  const ck_angles *angles;
  int interleaved;
} ck_rope;

/// Writes the step's rows into a cache. A key is `keys[0]` and `keys[1]` (may be empty) behind each
/// other; `values` are empty where the cache has none of their own.
typedef struct {
  ck_columns keys[2], values;
  ck_cache cache;
} ck_store;

/// Where workers leave what parts of a context gave, if they share one query's: memory for it, and
/// how many parts of a unit are there; zeros between phases.
typedef struct {
  float *floats;
  int64_t count;
  int64_t *arrived;
  int64_t unit_count;
} ck_partials;

/// Softmax attention. A query is `parts[0]` and `parts[1]` (may be empty) behind each other; query
/// head `h` uses key head `h / (heads / cache.heads)`.
typedef struct {
  ck_columns parts[2];
  int64_t heads, value_width;
  ck_cache cache;
  float scale;
  float *output;
  float *log_sum_exp;
  ck_partials *partials;
} ck_attention;

/// Queries that a unit of work takes through the keys together, at most; keys that have one maximum
/// together; keys of one part of a context, whose results are put together in order, whether or not
/// several workers have made them.
enum { CK_UNIT_QUERIES = 48, CK_SPAN_TOKENS = 64, CK_PART_TOKENS = 512 };
/// What `ck_partials` has room for: 500 parts of 16 heads over latents of 512.
enum { CK_PARTIAL_FLOATS = 1 << 22, CK_PARTIAL_UNITS = 4096 };

static inline int64_t ck_padded(int64_t count, int64_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

/// Floats of scratch that attention needs: queries, their sums of a part and of all and, where
/// values are taken from the keys, a span's.
static inline int64_t ck_attention_scratch(const ck_attention *a) {
  const int64_t width = ck_padded(a->value_width, 32);
  return CK_UNIT_QUERIES * (ck_padded(a->cache.key_width, 2) + 2 * width)
       + (a->cache.value_width == 0 ? CK_SPAN_TOKENS * width : 0);
}

typedef struct {
  int32_t expert;
  float weight;
} ck_choice;

/// Chooses experts from `logits`, `[rows][experts]`.
typedef struct {
  const int64_t *rows;
  const float *logits, *bias;
  int64_t experts, top_k;
  int64_t groups, kept_groups;
  int group_by_two_largest, sigmoid, normalize;
  float scale;
  ck_choice *choices;
} ck_route;

/// Sorts (row, rank) slots by expert and points the experts' products at them.
typedef struct {
  const int64_t *rows;
  const ck_choice *choices;
  int64_t experts, top_k;
  /// `[experts]`; the products' row counts.
  int64_t *counts;
  /// `[rows * top_k]`, grouped by expert: the slots, and their rows.
  int32_t *slots, *slot_rows;
  /// `[2 * experts]` (gate, up) and `[experts]`.
  ck_gemm *gate_up, *down;
} ck_group;

/// `output[r] = Σ_k weight_k · parts[r * top_k + k]`, in order of rank.
typedef struct {
  const int64_t *rows;
  const ck_choice *choices;
  int64_t top_k, width;
  const float *parts;
  float *output;
} ck_combine;

/// Elementwise, `rows * repeat` rows wide `width`: silu(left) * right, or left + right.
typedef struct {
  const int64_t *rows;
  int64_t repeat, width;
  const float *left, *right;
  float *output;
} ck_binary;

typedef struct {
  const float *input;
  float *output;
  int64_t width;
} ck_select;

typedef struct {
  const int64_t *rows;
  const float *left, *right;
  float *output;
  int64_t left_width, right_width;
} ck_join;

/// Of each of `rows` rows the column of the largest element, of equal ones the lowest; -1 where one
/// is no finite number.
typedef struct {
  const float *input;
  int64_t rows, width;
  int32_t *columns;
} ck_largest;

/// Reads `bytes` of memory in units of 1 MiB, `passes` times.
typedef struct {
  const void *memory;
  int64_t bytes, passes;
} ck_read;

// MARK: Levels

typedef struct {
  const char *name;
  ck_kernel gemms, gated, quantize, norm, attention, swiglu, add, rope, combine, largest, read;
} ck_kernels;

typedef enum { 
  CK_PORTABLE, CK_AVX2, CK_AVX2_VNNI, CK_AVX512, CK_AVX512_VNNI, CK_AVX512_BF16,
  CK_LEVELS
} ck_level;

/// The kernels of a level; NULL where this machine (or its operating system) lacks it.
const ck_kernels *ck_kernels_of(ck_level level);

// The same on every level.
void ck_run_pack(const void *arguments, const ck_step *step, ck_worker *worker);
void ck_run_quantize_fp8(const void *arguments, const ck_step *step, ck_worker *worker);
void ck_run_copy(const void *arguments, const ck_step *step, ck_worker *worker);
void ck_run_embed(const void *arguments, const ck_step *step, ck_worker *worker);
void ck_run_angles(const void *arguments, const ck_step *step, ck_worker *worker);
void ck_run_store(const void *arguments, const ck_step *step, ck_worker *worker);
void ck_run_route(const void *arguments, const ck_step *step, ck_worker *worker);
void ck_run_group(const void *arguments, const ck_step *step, ck_worker *worker);
void ck_run_select(const void *arguments, const ck_step *step, ck_worker *worker);
void ck_run_join(const void *arguments, const ck_step *step, ck_worker *worker);

// MARK: Memory

/// Zeroed memory of its own pages, huge ones where the system gives them. NULL if there is none.
void *ck_map(int64_t bytes);
void ck_unmap(void *memory, int64_t bytes);
/// Reads the pages of mapped memory and waits for them. 0, or an errno: systems before Linux 5.14
/// cannot, and files may have become shorter.
int ck_read_pages(const void *memory, int64_t bytes);
