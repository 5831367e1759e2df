// SPDX-License-Identifier: Apache-2.0
// Products of few tokens as tasks of one launch (`one_launch.cu`): the blocks that `linear_few.cu`
// would have, those that one block of the launch takes behind each other. Codes of the next are on
// their way while the sums of one are added and written, so that memory is read without a break;
// the first of a task are asked for before the tasks in front are done.

/// Where the codes begin that a lane copies of a block's tile. A call, once a block: written out
/// where `ask` is, it needs registers that are not there.
template <int format, int tiles> DEVICE_CALLED const uint8_t *find_codes(int block, int index) {
  const cu_product &op = task_argument<cu_product>();
  const int width = task_place().task.x, z = block / width;
  const Tile tile = tile_of(op, block % width, index, tiles);
  return tile.codes(op, op.order ? op.work[z].expert : z, Span<format>::bytes)
    + thread_index() % 32 * 16;
}

template <int format, int tiles> struct FewStream {
  using S = Span<format>;
  static constexpr int stages = stages_of<format, tiles>;

  const cu_product &op;
  /// Blocks of a matrix side by side, and of all.
  const int width, blocks;
  const Part part;
  Few<format, tiles> few;
  /// The block and span that is asked for next, where its codes are, and how many were.
  int ahead, ahead_span, asked = 0;
  const uint8_t *ahead_codes[tiles];

  DEVICE_MEMBER FewStream(const cu_product &op, const cu_task &task, char *shared)
      : op(op), width(task.x), blocks(task.x * task.z),
        part(part_of_columns(spans_of(op), thread_index() / 32)), few(op, shared) {}

  /// The block, if it has anything to do; pieces of work that do not come last.
  DEVICE_MEMBER int existing(int block) const {
    const bool exists = block < blocks && (!op.order || op.work[block / width].count > 0);
    return exists ? block : blocks;
  }
  DEVICE_MEMBER int next(int block) const { return existing(block + launched_blocks()); }

  /// Turns to a block whose codes are asked for.
  DEVICE_MEMBER void aim(int block) {
    ahead = block, ahead_span = part.first;
    if (block >= blocks) return;
    UNROLL for (int i = 0; i < tiles; i++) ahead_codes[i] = find_codes<format, tiles>(block, i);
  }

  /// Begins to copy the next span's codes, if there is one.
  DEVICE_MEMBER void ask() {
    if (ahead < blocks && part.first < part.end) {
      UNROLL for (int i = 0; i < tiles; i++) {
        Words4 *place = few.ring + (asked % stages * tiles + i) * S::units * 32;
        const uint8_t *codes = ahead_codes[i] + (int64_t)ahead_span * S::bytes;
        UNROLL for (int u = 0; u < S::units; u++) begin_copy(place + u * 32, codes + u * 512, true);
      }
      asked++;
      if (++ahead_span == part.end) aim(next(ahead));
    }
    end_copies();
  }

  DEVICE_MEMBER void multiply(int block, int used) {
    const Tokens tokens = tokens_of_block(op, block / width, cu_few_tokens);
    few.find(block % width, tokens.matrix);
    few.turn = used - part.first;
    few.load_scales(part.first, part.end);
    few.inputs.find(op, tokens);
    few.load_inputs(part.first, part.end);
    UNROLL for (int i = 0; i < tiles; i++) {
      UNROLL for (int j = 0; j < 4; j++) few.sum[i][j] = 0;
    }
    for (int span = part.first; span < part.end; span++) {
      ask();
      wait_for_copies<stages - 1>();
      few.multiply(span, part.end);
    }
    write_sums(op, few.sum, tokens, block % width);
    // The sums' place is the next block's.
    sync_block();
  }

  DEVICE_MEMBER void run() {
    // Which tokens an expert has is known only later.
    if (op.order) wait_for_previous();
    int block = existing(launched_block());
    aim(block);
    UNROLL_BY(1) for (int i = 0; i < stages - 1; i++) ask();
    wait_for_previous();
    for (int used = 0; block < blocks; block = next(block)) {
      multiply(block, used);
      used += part.end - part.first;
    }
    wait_for_copies<0>();
  }
};
