// SPDX-License-Identifier: Apache-2.0
// Products of up to 8 tokens a block (`product.h`): decoding, and experts that few tokens chose.
// A block takes one tile of 16 rows, or the gate's and the other's of a gated unit; each of its 8
// warps takes a part of the columns.
//
// Bound by memory. A lane copies its own 16 bytes of each unit to shared memory, some spans ahead,
// and reads no others', so that nobody waits for anybody; the first are on their way before the
// kernels in front are done. Scales and inputs are read one span ahead.
//
// Ladder (gate and up of Qwen-7B in FP8, one token, H100 that reads 3,070 GB/s): weights of a span
// in registers, then its sums, 1,475 GB/s over all products of a step; a span ahead in registers
// 1,960; spans ahead in shared memory 2,600, and 3,030 for the head. More spans (4, 6, 8) leave
// room for fewer blocks: 2,600, 2,280, 2,150.
//
// Where nothing but the product reads what a norm gives, blocks norm it themselves, one or two rows
// of 4,096 columns at most: the norm's kernel and the border behind it take some 3 us (H100), which
// is as long as the second-level cache takes to give 16 MB. By arithmetic; not yet run on a GPU.
// Codes of floats (`MadeInputs`) are made a span at a time, since all of a row before the first
// product would be 20 of them for a warp (18,944 columns), 2 to 3 us: as much as is saved.
#include "few_norm.h"
#include "few_sums.h"

namespace {

/// A lane's inputs of a span: of token g, for the fragments of rows g and g + 8.
template <int format, bool are_codes = cu_takes_codes((cu_format)format)> struct Inputs {
  static constexpr int count = cu_span / 16;

  const uint16_t *row = nullptr;
  Words2 words[count] = {};

  DEVICE_MEMBER void find(const cu_product &op, const Tokens &tokens) {
    row = input_row(op, tokens, thread_index() % 32 / 4);
  }

  DEVICE_MEMBER void load(const cu_product &op, int span) {
    if (!row) return;
    const int first = span * cu_span + thread_index() % 4 * 4;
    if (op.input_is_aligned && (span + 1) * cu_span <= op.inner) {
      UNROLL for (int f = 0; f < count; f++) words[f] = *(const Words2 *)(row + first + f * 16);
      return;
    }
    UNROLL for (int f = 0; f < count; f++) {
      uint32_t x[4];
      UNROLL for (int i = 0; i < 4; i++) {
        const int k = first + f * 16 + i;
        x[i] = k < op.inner ? row[k] : 0;
      }
      words[f] = {x[0] | x[1] << 16, x[2] | x[3] << 16};
    }
  }

  /// What is to be done with what `load` has brought.
  DEVICE_MEMBER void make() {}
};

/// Codes of token g, and the scales of the tokens whose sums the lane has.
template <int format> struct Inputs<format, true> {
  const uint8_t *row = nullptr;
  const float *scale_rows[2] = {};
  Words4 words[2] = {};
  Float2 scales = {};

  DEVICE_MEMBER void find(const cu_product &op, const Tokens &tokens) {
    row = coded_row(op, tokens, thread_index() % 32 / 4);
    UNROLL for (int i = 0; i < 2; i++) {
      const uint8_t *other = coded_row(op, tokens, thread_index() % 4 * 2 + i);
      scale_rows[i] = other ? scales_of_row(other, spans_of(op)) : nullptr;
    }
  }

  DEVICE_MEMBER void load(const cu_product &, int span) {
    if (scale_rows[0]) scales.x = scale_rows[0][span];
    if (scale_rows[1]) scales.y = scale_rows[1][span];
    if (!row) return;
    const Words4 *source = (const Words4 *)(row + span * cu_span) + thread_index() % 4 * 2;
    words[0] = source[0], words[1] = source[1];
  }

  DEVICE_MEMBER void make() {}
};

/// Rows that the block has normed, or made otherwise; beyond the last, that one again.
template <int format, bool are_codes = cu_takes_codes((cu_format)format)>
struct NormedInputs : Inputs<format> {
  template <class Rows> DEVICE_MEMBER void find(const Rows &rows, int count) {
    this->row = (const uint16_t *)rows.row(thread_index() % 32 / 4, count);
  }

  DEVICE_MEMBER void load(const cu_product &, int span) {
    const Words2 *source = (const Words2 *)(this->row + span * cu_span) + thread_index() % 4;
    UNROLL for (int f = 0; f < this->count; f++) this->words[f] = source[f * 4];
  }
};

template <int format> struct NormedInputs<format, true> : Inputs<format> {
  DEVICE_MEMBER void find(const NormedRows<format> &rows, int count) {
    this->row = (const uint8_t *)rows.row(thread_index() % 32 / 4, count);
    UNROLL for (int i = 0; i < 2; i++) {
      const char *other = rows.row(thread_index() % 4 * 2 + i, count);
      this->scale_rows[i] = scales_of_row((const uint8_t *)other, rows.spans);
    }
  }
};

/// Rows of floats, of whose codes each warp makes those of its own spans, one behind the other: the
/// arithmetic is done while weights are on their way.
template <int format> struct MadeInputs : Inputs<format> {
  static constexpr int tokens_max = cu_made_tokens((cu_format)format);
  static constexpr int stride = cu_shared_input_bytes((cu_format)format);

  const float *rows[tokens_max];
  int count;
  /// The warp's place for a span's codes and scales.
  char *place;
  SpanColumns<32> next[tokens_max];

  DEVICE_MEMBER void find(const cu_product &op, const Tokens &tokens) {
    SHARED Words4 made[cu_product_warps][tokens_max * stride / 16];
    place = (char *)made[thread_index() / 32];
    count = tokens.count < tokens_max ? tokens.count : tokens_max;
    UNROLL for (int i = 0; i < tokens_max; i++) rows[i] = float_row(op, tokens, i);
  }

  DEVICE_MEMBER void load(const cu_product &op, int span) {
    UNROLL for (int i = 0; i < tokens_max; i++) {
      if (i < count) next[i].load(rows[i], span, op.inner);
    }
  }

  DEVICE_MEMBER void make() {
    const int lane = thread_index() % 32, pair = lane % 4 * 2;
    // The codes before have been read.
    sync_warp();
    UNROLL for (int i = 0; i < tokens_max; i++) {
      if (i >= count) continue;
      uint32_t word[1];
      const float scale = next[i].make(cu_code_s8, word);
      ((uint32_t *)(place + i * stride))[word_of_four(cu_code_s8, lane)] = word[0];
      if (lane == 0) *(float *)(place + i * stride + cu_span) = scale;
    }
    sync_warp();
    if (lane / 4 < count) {
      const Words4 *source = (const Words4 *)(place + lane / 4 * stride) + pair;
      this->words[0] = source[0], this->words[1] = source[1];
    }
    const float *scale = (const float *)(place + pair * stride + cu_span);
    if (pair < count) this->scales.x = scale[0];
    if (pair + 1 < count) this->scales.y = scale[stride / 4];
  }
};

template <int format, int tiles, class Rows = Inputs<format>> struct Few {
  using S = Span<format>;
  static constexpr int stages = stages_of<format, tiles>;
  static constexpr int count = S::units * S::fragments, of_group = count / S::groups;
  static constexpr int ring_bytes = cu_product_warps * stages * tiles * S::bytes;

  const cu_product &op;
  Words4 *ring;
  const uint8_t *codes[tiles], *factors[tiles];
  Scales<format> scales[tiles];
  Rows inputs;
  float sum[tiles][4] = {};
  /// Of the ring, what a span is behind its number.
  int turn = 0;

  DEVICE_MEMBER Few(const cu_product &op, char *shared) : op(op) {
    const int lane = thread_index() % 32, warp = thread_index() / 32;
    ring = (Words4 *)(shared + warp * stages * tiles * S::bytes) + lane;
  }

  /// Finds the tiles of a block.
  DEVICE_MEMBER void find(int block, int matrix) {
    const int lane = thread_index() % 32;
    UNROLL for (int i = 0; i < tiles; i++) {
      const Tile tile = tile_of(op, block, i, tiles);
      codes[i] = tile.codes(op, matrix, S::bytes) + lane * 16;
      factors[i] = tile.scales(op, matrix, S::scale_bytes);
    }
  }

  /// Begins to copy a span's codes, if the part has it.
  DEVICE_MEMBER void copy(int span, int end) const {
    if (span < end) {
      UNROLL for (int i = 0; i < tiles; i++) {
        Words4 *place = ring + (span % stages * tiles + i) * S::units * 32;
        UNROLL for (int u = 0; u < S::units; u++) {
          begin_copy(place + u * 32, codes[i] + (int64_t)span * S::bytes + u * 512, true);
        }
      }
    }
    end_copies();
  }

  DEVICE_MEMBER void load_scales(int span, int end) {
    if (span >= end) return;
    UNROLL for (int i = 0; i < tiles; i++) scales[i].load(factors[i], span);
  }

  DEVICE_MEMBER void load_inputs(int span, int end) {
    if (span < end) inputs.load(op, span);
  }

  DEVICE_MEMBER Words4 unit(int span, int tile, int index) const {
    return ring[(((span + turn) % stages * tiles + tile) * S::units + index) * 32];
  }

  DEVICE_MEMBER void multiply(int span, int end) {
    Scales<format> kept[tiles];
    UNROLL for (int i = 0; i < tiles; i++) kept[i] = scales[i];
    inputs.make();
    const Inputs<format> x = inputs;
    load_scales(span + 1, end);
    load_inputs(span + 1, end);
    if constexpr (cu_takes_codes((cu_format)format)) multiply_codes(span, kept, x);
    else multiply_floats(span, kept, x);
  }

  DEVICE_MEMBER void multiply_floats(int span, const Scales<format> (&kept)[tiles],
                                     const Inputs<format> &x) {
    float part[tiles][4] = {};
    UNROLL for (int f = 0; f < count; f++) {
      UNROLL for (int i = 0; i < tiles; i++) {
        uint32_t a[4];
        kept[i].fragment(f / of_group, unit(span, i, f / S::fragments), f % S::fragments, a);
        multiply_tile(S::scales == 0 ? sum[i] : part[i], a, x.words[f].x, x.words[f].y);
        if (S::scales > 0 && f % of_group == of_group - 1) {
          kept[i].promote(f / of_group, part[i], sum[i]);
        }
      }
    }
  }

  DEVICE_MEMBER void multiply_codes(int span, const Scales<format> (&kept)[tiles],
                                    const Inputs<format> &x) {
    UNROLL for (int i = 0; i < tiles; i++) {
      int32_t part[4] = {};
      UNROLL for (int u = 0; u < S::units; u++) {
        const Words4 codes = unit(span, i, u), &four = x.words[u / 2];
        const uint32_t a[4] = {codes.x, codes.y, codes.z, codes.w};
        multiply_tile(part, a, u % 2 == 0 ? four.x : four.z, u % 2 == 0 ? four.y : four.w);
      }
      kept[i].promote(x.scales, part, sum[i]);
    }
  }

  /// Begins what is asked for before the kernels in front are done.
  DEVICE_MEMBER void begin(const Part &part) {
    UNROLL for (int i = 0; i < stages - 1; i++) copy(part.first + i, part.end);
    load_scales(part.first, part.end);
  }

  /// Sums the part; inputs are found.
  DEVICE_MEMBER void run(const Part &part) {
    load_inputs(part.first, part.end);
    for (int span = part.first; span < part.end; span++) {
      copy(span + stages - 1, part.end);
      wait_for_copies<stages - 1>();
      multiply(span, part.end);
    }
    wait_for_copies<0>();
  }
};

/// - Parameters:
///   - index: of the block, among those of a matrix.
///   - z: which matrix, or with experts which piece of work.
template <int format, int tiles, class Rows = Inputs<format>>
DEVICE void product_few(const cu_product &op, int index, int z) {
  DYNAMIC_SHARED(char, shared);
  const Part part = part_of_columns(spans_of(op), thread_index() / 32);
  Tokens tokens;
  // Which tokens an expert has is known only later; a first block has some always.
  if (op.order || block_y() > 0) {
    wait_for_previous();
    tokens = tokens_of_block(op, z, cu_few_tokens);
    if (tokens.count <= 0) return;
  }
  Few<format, tiles, Rows> few(op, shared);
  few.find(index, op.order ? tokens.matrix : z);
  few.begin(part);
  if (!op.order && block_y() == 0) {
    tokens = tokens_of_block(op, z, cu_few_tokens);
    wait_for_previous();
  }
  few.inputs.find(op, tokens);
  few.run(part);
  if (tokens.count > 0) write_sums(op, few.sum, tokens, index);
}

/// The same of one matrix, behind the norm of all its rows.
template <int format, int tiles> DEVICE void product_few_normed(const cu_normed_product &normed) {
  DYNAMIC_SHARED(char, shared);
  const cu_product &op = normed.product;
  const Part part = part_of_columns(spans_of(op), thread_index() / 32);
  Few<format, tiles, NormedInputs<format>> few(op, shared);
  few.find(block_x(), 0);
  few.begin(part);
  const Tokens tokens = tokens_of_block(op, 0, cu_few_tokens);
  NormedRows<format> rows(normed.norm, shared + few.ring_bytes);
  wait_for_previous();
  norm_rows(rows, tokens.count);
  few.inputs.find(rows, tokens.count);
  few.run(part);
  if (tokens.count <= 0) return;
  // The sums lie where codes were, so that the rows cost no block its place on a multiprocessor.
  sync_block();
  write_sums<tiles, false>(op, few.sum, tokens, block_x(), 0, *(PartSums<tiles> *)shared);
}

/// Gated units of the experts that few rows chose and, in blocks behind theirs, of the shared ones.
template <int format> DEVICE void units_few(const cu_units &op) {
  const int layer = block_z() - op.work_count, index = layer * grid_x() + block_x();
  if (layer < 0) return product_few<format, 2>(op.routed, block_x(), block_z());
  if (index >= op.shared_tiles) return wait_for_previous();
  product_few<format, 2>(op.shared, index, 0);
}

}  // namespace

// Grid: tiles of 16 rows of the weight's parts, or of the gate; tokens in eights; matrices. With
// experts: tiles; 1; pieces of work (`slots.h`).
// Shared memory: `stages` spans of each warp's tiles; behind them the rows that blocks norm.
#define FEW(name, format)                                                                          \
  EARLY_KERNEL(product_##name##_few, cu_product, cu_threads) {                                     \
    product_few<format, 1>(op, block_x(), block_z());                                              \
  }                                                                                                \
  EARLY_KERNEL(product_##name##_gated_few, cu_product, cu_threads) {                               \
    product_few<format, 2>(op, block_x(), block_z());                                              \
  }                                                                                                \
  EARLY_KERNEL(normed_##name##_few, cu_normed_product, cu_threads) {                               \
    product_few_normed<format, 1>(op);                                                             \
  }                                                                                                \
  EARLY_KERNEL_FOR(normed_##name##_gated_few, cu_normed_product, cu_threads,                       \
                   cu_takes_codes(format) ? 3 : 2) {                                               \
    product_few_normed<format, 2>(op);                                                             \
  }

FEW(bf16, cu_format_bf16)
FEW(fp8, cu_format_fp8)
FEW(w8, cu_format_w8)
FEW(w4, cu_format_w4)
FEW(w8a8, cu_format_w8a8)
FEW(sparse, cu_format_sparse)
FEW(int4_32, cu_format_int4_32)
FEW(int4_64, cu_format_int4_64)
FEW(int4_128, cu_format_int4_128)
FEW(int8_32, cu_format_int8_32)
FEW(int8_64, cu_format_int8_64)
FEW(int8_128, cu_format_int8_128)

// Units of all experts; those with zeros take too many registers for both. Grid: tiles of a routed
// gate; 1; pieces of work, then as many layers as the shared gate's tiles fill.
#define UNITS(name, format) \
  EARLY_KERNEL(units_##name##_few, cu_units, cu_threads) { units_few<format>(op); }

UNITS(bf16, cu_format_bf16)
UNITS(fp8, cu_format_fp8)
UNITS(w8, cu_format_w8)
UNITS(w4, cu_format_w4)
UNITS(w8a8, cu_format_w8a8)
UNITS(sparse, cu_format_sparse)

// Products of up to `cu_made_tokens` rows of floats, of which blocks make the codes.
EARLY_KERNEL(coding_w8a8_few, cu_product, cu_threads) {
  product_few<cu_format_w8a8, 1, MadeInputs<cu_format_w8a8>>(op, block_x(), block_z());
}
