// SPDX-License-Identifier: Apache-2.0
// Latent attention of a chunk of a prompt in its expanded form: keys and values of every head are
// made of the cache's latents, a portion of the cached tokens at a time.
//   gather_latents   the portion's latents c_t and rotary columns r_t, from the cache's blocks
//   (products of heads: k_h,t = W_UK_h · c_t, v_h,t = W_UV_h · c_t, as bfloat16)
//   attend_expanded  s_t = scale · (q_h · k_h,t + rotary q_h · r_t); for each row and head
//                    M = largest s_t; L = Σ exp(s_t - M); o = Σ exp(s_t - M) · v_h,t, with what the
//                    portions before gave; output = o / L once all of the row's keys are there
//
// Shapes: gathered [tokens, latent | rotary], each part padded to 8 columns, zeros behind the last
// token; keys and values [tokens, heads, plain] and [tokens, heads, value] behind each other in a
// row; queries [rows, heads, plain | rotary].
//
// Layout. A block has a head of a window of 64 rows; 64 keys and their values at a time in shared
// memory, the next on their way. Scores and sums of values: as windows of `attention.cu`.
//
// The same bits whatever else runs: tiles begin at multiples of 64 tokens of the sequence and are
// folded to the row's sums one by one, in order, so that neither the portions nor the chunk that a
// row came with changes anything. Between portions sums are kept as the 32 bits that they are.
//
// Ladder: (1) this, `mma.sync`; not yet measured on a GPU. Not yet: wgmma, smaller windows where
// heads and rows are few.
#include "attention_rows.h"
#include "cache_codes.h"

namespace {

/// Eight columns from `first` on of a part of a row in bfloat16; zeros behind its last.
DEVICE Words4 columns_of(bool is_aligned, const uint16_t *part, int first, int width) {
  if (is_aligned) return *(const Words4 *)(part + first);
  uint32_t pairs[4];
  UNROLL for (int i = 0; i < 4; i++) {
    const int column = first + 2 * i;
    const uint32_t low = column < width ? part[column] : 0;
    const uint32_t high = column + 1 < width ? part[column + 1] : 0;
    pairs[i] = low | high << 16;
  }
  return {pairs[0], pairs[1], pairs[2], pairs[3]};
}

template <int format>
DEVICE Words4 latent_columns(const cu_gather &op, const uint8_t *row, int first) {
  if constexpr (format == cu_cache_bf16) {
    return columns_of(op.is_aligned, (const uint16_t *)row, first, op.latent);
  } else {
    const float *scales = (const float *)(row + op.cache.scale_place);
    return cached_values(*(const Words2 *)(row + first), scales[first / cu_scale_columns]);
  }
}

template <int format> DEVICE void gather(const cu_gather &op) {
  const int pieces = (int)op.stride / 8, index = block_x() * cu_threads + thread_index();
  const int key = index / pieces, first = index % pieces * 8;
  if (key >= op.rows) return;
  Words4 columns = {0, 0, 0, 0};
  if (key < op.keys) {
    const int32_t *blocks = op.step->blocks + op.step->row_blocks[op.row];
    const uint8_t *row =
      op.cache.rows + cache_row(op.step, blocks, op.first_key + key) * op.cache.stride;
    const int plain = format == cu_cache_bf16 ? 2 * op.latent : op.cache.plain_place;
    columns = first < op.rotary_place
      ? latent_columns<format>(op, row, first)
      : columns_of(op.is_aligned, (const uint16_t *)(row + plain), first - op.rotary_place,
                   op.rotary);
  }
  *(Words4 *)(op.output + key * op.stride + first) = columns;
}

/// As `fetch_tile`, of keys from the `first` of the sequence on; zeros from `end` on.
DEVICE void fetch_expanded(const cu_expanded &op, const TilePlaces &places, int head, int stage,
                           int first, int end) {
  const cu_attention &attention = op.attention;
  const cu_cache &cache = attention.cache;
  const int plain = attention.key_width - op.rotary_width;
  UNROLL for (int i = 0; i < 2; i++) {
    const int key = thread_index() / 32 * 8 + i * 4 + thread_index() % 32 / 8;
    const bool is_there = first + key < end;
    const int64_t index = is_there ? first + key - op.first_key : 0;
    const uint8_t *row = cache.rows + index * cache.stride;
    uint16_t *to = places.keys(stage) + key * places.key_stride;
    fetch_row(attention.is_aligned, is_there, to,
              (const uint16_t *)(row + head * cache.key_bytes), plain, plain);
    // What is copied one by one is padded to eight columns.
    if (!attention.is_aligned) sync_warp();
    fetch_row(attention.is_aligned, is_there, to + plain, op.rotary + index * op.rotary_stride,
              op.rotary_width, places.key_stride - cu_bank_columns - plain);
    fetch_row(attention.is_aligned, is_there, places.values(stage) + key * places.value_stride,
              (const uint16_t *)(row + cache.value_place + head * cache.value_bytes),
              attention.value_width, places.value_stride - cu_bank_columns);
  }
}

template <int m> struct SharedWindow {
  SharedScores<m> scores;
  /// Keys that a row sees.
  int row_keys[16 * m];
};

template <int m> struct AttendExpanded {
  const cu_expanded &op;
  const QueryRows &rows;
  SharedWindow<m> &shared;
  const TilePlaces places;
  /// Behind the last key of the portion that a row of the window sees.
  const int end;

  DEVICE_MEMBER void fetch(int first, int stage) const {
    if (first < end) fetch_expanded(op, places, rows.key_head, stage, first, end);
    end_copies();
  }

  /// Whether a row sees a key of this portion: if not, it is done.
  DEVICE_MEMBER bool has_keys(int row) const {
    return row < rows.count() && shared.row_keys[row] > op.first_key;
  }

  DEVICE_MEMBER int64_t kept_index(int row) const {
    return part_index(op.attention, rows.row(row), rows.key_head, 0);
  }

  /// What the portions before gave; nothing if there is none.
  DEVICE_MEMBER void load(Scores &mine, Sums<m, 1> &total) const {
    if (op.first_key == 0) return;
    const int row = thread_index();
    if (row < 16 * m && has_keys(row)) {
      const float *scores = op.attention.part_scores + kept_index(row) * 2;
      mine = {scores[0], scores[1]};
    }
    UNROLL for (int i = 0; i < 2 * m; i++) {
      if (has_keys(total.row(i))) total.load_part(op.attention, kept_index(total.row(i)), i);
    }
  }

  /// Outputs of rows that have seen all their keys; of others, what is to be gone on with.
  DEVICE_MEMBER void store(const Sums<m, 1> &total) const {
    UNROLL for (int i = 0; i < 2 * m; i++) {
      const int row = total.row(i);
      if (!has_keys(row)) continue;
      const Scores &scores = shared.scores.totals[row];
      if (shared.row_keys[row] <= op.first_key + op.keys) {
        total.store_row(op.attention, rows.row(row), rows.key_head, scores, i);
      } else {
        total.store_part(op.attention, kept_index(row), scores, i);
      }
    }
  }

  /// A thread for each row: what becomes of its sums with those of one more tile.
  DEVICE_MEMBER void add_scores(Scores &mine) {
    const int row = thread_index();
    if (row >= 16 * m) return;
    Scores tile = {WarpTile<m>::largest_of_row(shared.scores, row), 0};
    UNROLL for (int i = 0; i < cu_tile_keys / 8; i++) tile.sum += shared.scores.sums[row][i];
    shared.scores.to_total[row] = fold(mine, tile);
    shared.scores.totals[row] = mine;
  }

  DEVICE_MEMBER void attend(int first, int stage, Scores &mine, Sums<m, 1> &sums) {
    constexpr float log2_e = 1.44269504088896341f;
    WarpTile<m> scores;
    scores.score(places, places.keys(stage));
    scores.mask(op.attention.scale * log2_e, first, shared.row_keys, shared.scores);
    sync_block();
    scores.weigh(places.weights, shared.scores);
    sync_block();
    add_scores(mine);
    mix<m, 1>(places, places.values(stage), op.attention.value_width, sums.values);
  }

  DEVICE_MEMBER void run() {
    const int stages = op.attention.stages, row = thread_index();
    wait_for_previous();
    fetch_queries<m>(op.attention, places, rows);
    if (row < 16 * m) {
      const int32_t *positions = op.attention.step->positions;
      shared.row_keys[row] = row < rows.count() ? positions[rows.row(row)] + 1 : 0;
    }
    for (int i = 0; i < stages; i++) fetch(op.first_key + i * cu_tile_keys, i);
    sync_block();
    Scores mine;
    Sums<m, 1> total;
    load(mine, total);
    for (int first = op.first_key, stage = 0; first < end; first += cu_tile_keys) {
      if (stages == 1) wait_for_copies<0>(); else wait_for_copies<1>();
      sync_block();
      Sums<m, 1> sums;
      attend(first, stage, mine, sums);
      sync_block();
      fetch(first + stages * cu_tile_keys, stage);
      stage = stages - 1 - stage;
      total.add(sums, shared.scores.to_total);
    }
    store(total);
  }
};

}  // namespace

// Grid: eight neighbouring columns to a thread.
KERNEL(gather_latents, cu_gather, cu_threads) { gather<cu_cache_bf16>(op); }
KERNEL(gather_latents_fp8, cu_gather, cu_threads) { gather<cu_cache_fp8>(op); }

// Grid: heads; windows of the chunk, the last first, since it sees the most. Shared memory: see
// `TilePlaces`.
EARLY_KERNEL_FOR(attend_expanded, cu_expanded, cu_threads, 1) {
  constexpr int window = cu_window_heads_few, m = window / 16;
  DYNAMIC_SHARED(Words4, memory);
  SHARED SharedWindow<m> shared;
  const int skipped = ((op.rows + window - 1) / window - 1 - block_y()) * window;
  const int left = op.rows - skipped, head = block_x();
  const QueryRows rows = {op.attention.first_row + skipped, left < window ? left : window, head,
                          head, 1};
  const int last = load_now(op.attention.step->positions + rows.first_row + rows.tokens - 1);
  const int end = last < op.first_key + op.keys ? last + 1 : op.first_key + op.keys;
  if (end <= op.first_key) return wait_for_previous();
  const TilePlaces places(op.attention, memory, window);
  AttendExpanded<m>{op, rows, shared, places, end}.run();
}
