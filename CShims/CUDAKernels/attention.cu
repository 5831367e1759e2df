// SPDX-License-Identifier: Apache-2.0
// Attention over a paged cache, with grouped heads or over compressed keys (absorbed form).
//   store    (`store.cu`) queries as rows of bfloat16; keys and values into the cache, as bfloat16
//            or in FP8.
//   attend   for some rows, a key head and parts of the keys: scores s = scale · q · k; their
//            largest, m; l = Σ exp(s - m); o = Σ exp(s - m) · v.
//   merge    M = largest m; output = Σ exp(m - M) · o / L, L = Σ exp(m - M) · l, over the parts;
//            log-sum-exp = M + log(L), or -inf and an output of 0 where there is no key.
//
// Shapes: queries [rows, heads, key width], in one part or two; cache [tokens, key and value rows],
// of which head h uses key h / heads_per_key. Compressed keys are one key head of all query heads,
// and the values are the keys' first columns.
//
// Layout. A block has 16 query rows, the heads of one token and key head, or a window of 64 (of 32
// where values are wide), heads by tokens of one sequence; 64 keys and their values at a time in
// shared memory, the next on their way. Scores: each of 8 warps takes some rows of some keys.
// Weights go through shared memory; sums of values: each warp takes every eighth chunk of 16
// columns, so that no sum goes from warp to warp.
//
// Numbers. Queries, keys, values and weights are bfloat16 where they meet in tensor cores (what is
// kept in FP8 is exact in it); scores, their exponentials' sums and the sums of values are 32 bits.
// `attention_order.h` has the order.
//
// The same bits whatever else runs: a row's keys are cut by their own number, and no other row
// changes what a row gets; how a step is spread over blocks only moves where sums are folded.
//
// Ladder: 32 bits without tensor cores, parts of 256 keys; now tensor cores by `mma.sync`, parts
// from 64 keys on, windows of tokens. Not yet: wgmma for windows.
#include "attention_packed.h"
#include "attention_rows.h"

namespace {

template <int m> struct SharedState {
  SharedScores<m> scores;
  int row_keys[16 * m];
  int64_t rows[2][cu_tile_keys];
};

/// Tiles that a block takes: those of its parts, one part in `spread`. A part is a power of two.
struct Walk {
  int tile, end, part, spread;

  DEVICE_MEMBER bool is_done() const { return tile >= end; }
  DEVICE_MEMBER bool ends(int size) const {
    return ((tile + 1) & (size - 1)) == 0 || tile + 1 == end;
  }
  DEVICE_MEMBER void next() {
    tile++;
    if ((tile & (part - 1)) == 0) tile += (spread - 1) * part;
  }
};

/// What a thread knows of one row's scores so far.
struct RowScores {
  Scores group, total;
};

template <int m, int chunks, int format> struct Attend {
  const cu_attention &op;
  const QueryRows &rows;
  SharedState<m> &shared;
  const TilePlaces places;
  const cu_step &step;
  const int32_t *blocks;
  /// Of the last token, which sees the most.
  const int keys;

  /// The cache's row of a tile's key, or 0.
  DEVICE_MEMBER int64_t find_row(int tile) const {
    const int key = tile * cu_tile_keys + thread_index() % cu_tile_keys;
    return key < keys ? cache_row(&step, blocks, key) : 0;
  }

  /// Finds the rows of the first two tiles, and begins to copy the queries.
  DEVICE_MEMBER void begin(Walk walk) {
    const int part = thread_index() / cu_tile_keys, index = thread_index() % cu_tile_keys;
    if (part == 1) walk.next();
    const int64_t row = part < 2 ? find_row(walk.tile) : 0;
    wait_for_previous();
    fetch_queries<m>(op, places, rows);
    if (part < 2) shared.rows[part][index] = row;
    if (part != 2 || index >= 16 * m) return;
    const bool is_there = index < rows.count();
    shared.row_keys[index] = is_there ? held_keys(&step, step.positions[rows.row(index)]) : 0;
  }

  /// Begins to copy the next tile, if there is one, to where there is room.
  DEVICE_MEMBER void fetch(Walk &ahead, int stage) {
    if (!ahead.is_done()) {
      const int count = keys - ahead.tile * cu_tile_keys;
      if constexpr (format == cu_cache_bf16) {
        fetch_tile(op, places, rows.key_head, stage, shared.rows[stage], count);
      } else {
        fetch_packed(op, places, rows.key_head, stage, shared.rows[stage], count);
      }
      ahead.next();
    }
    end_copies();
  }

  /// Waits for a tile that was fetched, in FP8 unpacks it, and returns which it is then.
  DEVICE_MEMBER int receive(int stage, bool has_queries) {
    if (op.stages == 1) wait_for_copies<0>(); else wait_for_copies<1>();
    if constexpr (format != cu_cache_bf16) {
      sync_warp();
      unpack(op, places, rows.key_head, stage);
      stage = 0;
    }
    // A warp has copied its keys itself, and queries are there since the first tile.
    if (m > 1 || !has_queries) sync_block(); else sync_warp();
    return stage;
  }

  /// A thread for each row: what becomes of its sums with those of one more tile.
  DEVICE_MEMBER void add_scores(const Walk &walk, int group_size, RowScores &mine) {
    const int row = thread_index();
    if (row >= 16 * m) return;
    Scores tile = {WarpTile<m>::largest_of_row(shared.scores, row), 0};
    UNROLL for (int i = 0; i < cu_tile_keys / 8; i++) tile.sum += shared.scores.sums[row][i];
    shared.scores.to_group[row] = fold(mine.group, tile);
    if (!walk.ends(group_size)) return;
    shared.scores.to_total[row] = fold(mine.total, mine.group);
    shared.scores.totals[row] = mine.total;
    mine.group = Scores();
    if (op.parts != cu_key_parts_all && walk.ends(walk.part)) mine.total = Scores();
  }

  /// A tile's sums. `next_row` is of the tile that will come to its stage.
  DEVICE_MEMBER void attend(const Walk &walk, int group_size, int tile, int stage,
                            int64_t next_row, RowScores &mine, Sums<m, chunks> &sums) {
    constexpr float log2_e = 1.44269504088896341f;
    const int first = walk.tile * cu_tile_keys;
    WarpTile<m> scores;
    scores.score(places, places.keys(tile));
    scores.mask(op.scale * log2_e, first, shared.row_keys, shared.scores);
    sync_block();
    scores.weigh(places.weights, shared.scores);
    if (thread_index() < cu_tile_keys) shared.rows[stage][thread_index()] = next_row;
    sync_block();
    add_scores(walk, group_size, mine);
    mix<m, chunks>(places, places.values(tile), op.value_width, sums.values);
  }

  DEVICE_MEMBER void run(Walk walk) {
    Walk ahead = walk;
    begin(walk);
    sync_block();
    for (int stage = 0; stage < op.stages; stage++) fetch(ahead, stage);
    const int group_size = walk.part == 1 ? 1 : tiles_of_group(keys);
    Sums<m, chunks> group, total;
    RowScores mine;
    for (int stage = 0, count = 0; !walk.is_done(); walk.next(), count++) {
      const int64_t next_row = thread_index() < cu_tile_keys ? find_row(ahead.tile) : 0;
      const int tile = receive(stage, count > 0);
      Sums<m, chunks> sums;
      attend(walk, group_size, tile, stage, next_row, mine, sums);
      sync_block();
      fetch(ahead, stage);
      stage = op.stages - 1 - stage;
      group.add(sums, shared.scores.to_group);
      if (!walk.ends(group_size)) continue;
      total.add(group, shared.scores.to_total);
      group = Sums<m, chunks>();
      if (op.parts == cu_key_parts_all || !walk.ends(walk.part)) continue;
      total.store(op, rows, walk.tile / walk.part, shared.scores.totals);
      total = Sums<m, chunks>();
    }
    if (op.parts == cu_key_parts_all) total.store(op, rows, 0, shared.scores.totals);
  }
};

/// What rows get that see no key.
DEVICE void store_nothing(const cu_attention &op, const QueryRows &rows) {
  for (int i = thread_index() / 32; i < rows.count(); i += cu_threads / 32) {
    const int row = rows.row(i), head = rows.head(i), lane = thread_index() % 32;
    for (int column = 2 * lane; column < op.value_width; column += 64) {
      store_output(op, row, head, column, 0, 0);
    }
    if (lane == 0) store_log(op, row, head, Scores());
  }
}

template <int m, int chunks, int format>
DEVICE void attend(const cu_attention &op, const cu_step &step, const QueryRows &rows,
                   SharedState<m> &shared, void *memory) {
  const int last = rows.first_row + rows.tokens - 1, index = block_x() % op.spread;
  const int position = load_now(step.positions + last), first = load_now(step.row_blocks + last);
  const int keys = held_keys(&step, position);
  const int part = tiles_of_part(op.parts, keys);
  const Walk walk = {index * part, tiles_of(keys), part, op.spread};
  if (walk.is_done()) {
    wait_for_previous();
    if (op.parts == cu_key_parts_all) store_nothing(op, rows);
    return;
  }
  const int32_t *blocks = step.blocks + first;
  const TilePlaces places(op, memory, 16 * m);
  Attend<m, chunks, format>{op, rows, shared, places, step, blocks, keys}.run(walk);
}

/// Whether the window that begins with a row is taken at once: a whole one of one sequence, whose
/// rows' keys are cut alike.
DEVICE bool is_window(const cu_attention &op, const cu_step &step, int first) {
  const int last = first + op.window - 1;
  if (last >= step.counts[0] || step.row_blocks[first] != step.row_blocks[last]) return false;
  return tiles_of_group(held_keys(&step, step.positions[first]))
    == tiles_of_group(held_keys(&step, step.positions[last]));
}

/// Heads of one token, if its window is not taken at once.
template <int chunks, int format>
DEVICE void attend_to_token(const cu_attention &op, SharedState<1> &shared, void *memory) {
  const int row = op.first_row + block_z(), skipped = block_x() / op.spread * cu_tile_heads;
  const cu_step step = *op.step;
  const bool is_there = row < step.counts[0];
  if (!is_there || (op.window > 0 && is_window(op, step, row - block_z() % op.window))) {
    return wait_for_previous();
  }
  const int left = op.heads_per_key - skipped, first = block_y() * op.heads_per_key + skipped;
  const QueryRows rows = {row, 1, block_y(), first, left < cu_tile_heads ? left : cu_tile_heads};
  attend<1, chunks, format>(op, step, rows, shared, memory);
}

/// Heads of a window's tokens, if it is taken at once.
template <int m, int chunks, int format>
DEVICE void attend_to_window(const cu_attention &op, SharedState<m> &shared, void *memory) {
  const int first = op.first_row + block_z() * op.window, skipped = block_x() * 16 * m;
  const cu_step step = *op.step;
  if (!is_window(op, step, first)) return wait_for_previous();
  const int left = op.heads_per_key - skipped, head = block_y() * op.heads_per_key + skipped;
  const QueryRows rows = {first, op.window, block_y(), head, left < 16 * m ? left : 16 * m};
  attend<m, chunks, format>(op, step, rows, shared, memory);
}

}  // namespace

// Grid: blocks of `spread` times parts of 16 heads; key heads; rows from `first_row` on. Shared
// memory: see `TilePlaces`.
#define ATTEND_KERNEL(name, chunks, format)               \
  EARLY_KERNEL(name, cu_attention, cu_threads) {          \
    DYNAMIC_SHARED(Words4, memory);                       \
    SHARED SharedState<1> shared;                         \
    attend_to_token<chunks, format>(op, shared, memory);  \
  }
ATTEND_KERNEL(attend_128, 1, cu_cache_bf16)
ATTEND_KERNEL(attend_512, 4, cu_cache_bf16)
ATTEND_KERNEL(attend_128_fp8, 1, cu_cache_fp8)
ATTEND_KERNEL(attend_512_fp8, 4, cu_cache_fp8)

// Grid: parts of the heads; key heads; windows from `first_row` on.
#define WINDOW_KERNEL(name, heads, chunks, format)                    \
  EARLY_KERNEL(name, cu_attention, cu_threads) {                      \
    DYNAMIC_SHARED(Words4, memory);                                   \
    SHARED SharedState<heads / 16> shared;                            \
    attend_to_window<heads / 16, chunks, format>(op, shared, memory); \
  }
WINDOW_KERNEL(attend_window_128, cu_window_heads_few, 1, cu_cache_bf16)
WINDOW_KERNEL(attend_window_512, cu_window_heads_many, 4, cu_cache_bf16)
WINDOW_KERNEL(attend_window_128_fp8, cu_window_heads_few, 1, cu_cache_fp8)
WINDOW_KERNEL(attend_window_512_fp8, cu_window_heads_many, 4, cu_cache_fp8)
