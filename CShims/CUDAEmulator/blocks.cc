// SPDX-License-Identifier: Apache-2.0
// The blocks of grids: one after the other, by turns where a kernel wants them together, and one of
// a kernel that begins before the kernel in front of it is done.
#include "blocks.h"
#include "order.h"

#include <vector>

// What the kernels declare `SHARED`, by the linker.
extern "C" char __start_emulated_shared[], __stop_emulated_shared[];

namespace emulation {

char *dynamic_shared;
char *dynamic_memory;

/// A block that others run in place of.
struct Block {
  const Kernel *kernel;
  const void *argument;
  Position position, grid;
  int threads, first_thread;
  char *dynamic;
  int first_threads = 0, waits = 0;
  unsigned number = 0;
  std::vector<char> shared = {};
};

struct EarlyBlock {
  int place, index;
  std::vector<char> argument;
  Block block;

  ~EarlyBlock();
};

namespace {

/// Of the fibers: the first are for blocks that run, then come those of blocks that have begun.
struct Place { bool is_prepared, is_taken; };
Place places[1 + early_max];

/// Behind static shared memory lies dynamic, of no larger alignment than that it has on a GPU.
constexpr size_t dynamic_alignment = 16;

void prepare(int place) {
  if (!dynamic_memory) {
    const size_t bytes = dynamic_shared_max * (together_max + early_max);
    dynamic_memory = (char *)aligned_alloc(64, bytes + 64) + dynamic_alignment;
  }
  Place &own = places[place];
  own.is_prepared = own.is_prepared || prepare_fibers(place * threads_max);
}

size_t shared_bytes() { return (size_t)(__stop_emulated_shared - __start_emulated_shared); }

Position position_of(int index, const Position &grid) {
  return {index % grid.x, index / grid.x % grid.y, index / grid.x / grid.y};
}

void enter(const Block &entered) {
  running = entered.kernel;
  argument_of_run = entered.argument;
  block = entered.position, grid = entered.grid;
  threads_of_block = entered.threads, first_thread = entered.first_thread;
  dynamic_shared = entered.dynamic;
  first_threads = entered.first_threads, waits_for_previous = entered.waits;
  current_block = entered.number;
}

/// What all kernels declare is more than a small block touches: filling it takes time that the
/// fast order does not.
void start(size_t dynamic_bytes) {
  const bool is_filled = is_searching || running->is_together;
  if (is_filled) memset(__start_emulated_shared, unwritten, shared_bytes());
  memset(dynamic_shared, unwritten, dynamic_bytes);
  begin_block();
  start_fibers();
}

void put_aside(Block &left) {
  left.first_threads = first_threads, left.waits = waits_for_previous;
  left.number = current_block;
  left.shared.assign(__start_emulated_shared, __stop_emulated_shared);
}

void go_on(const Block &waiting) {
  enter(waiting);
  memcpy(__start_emulated_shared, waiting.shared.data(), waiting.shared.size());
}

constexpr const char *endless = "threads wait for what does not come";

/// Of a block that has been advanced as far as it can be.
const char *end() {
  if (!is_done()) return endless;
  return waits_for_previous == 0 ? "a block ends and has not waited for the kernels in front"
                                 : end_block();
}

/// Runs blocks by turns, each for as long as it does not wait for another: so each is as far ahead
/// of the others as it may be, and what it should have waited for is not there.
const char *run_together(Block block, size_t dynamic_bytes) {
  const int count = block.grid.x;
  if (count > (int)together_max || count * block.threads > threads_max) {
    return "more blocks than can run together";
  }
  std::vector<Block> blocks((size_t)count, block);
  for (int index = 0; index < count; index++) {
    Block &own = blocks[(size_t)index];
    own.position = {index, 0, 0};
    own.first_thread = index * block.threads;
    own.dynamic = dynamic_memory + (size_t)index * dynamic_shared_max;
    enter(own);
    start(dynamic_bytes);
    put_aside(own);
  }
  for (int done = 0; done < count;) {
    const unsigned long before = progress;
    const Sequence order(count);
    done = 0;
    for (int i = 0; i < count; i++) {
      Block &own = blocks[(size_t)order[i]];
      go_on(own);
      if (const char *error = is_done() ? nullptr : advance()) return error;
      put_aside(own);
      done += is_done();
    }
    if (done < count && progress == before) return endless;
  }
  return nullptr;
}

/// Runs blocks one after the other, first the one that has begun.
const char *run_each(Block block, size_t dynamic_bytes, const EarlyBlock *begun) {
  if (begun) {
    go_on(begun->block);
    let_fibers_go_on();
    if (const char *error = advance()) return error;
    if (const char *error = end()) return error;
  }
  const int count = block.grid.x * block.grid.y * block.grid.z;
  const Sequence order(count);
  for (int i = 0; i < count; i++) {
    if (begun && order[i] == begun->index) continue;
    block.position = position_of(order[i], block.grid);
    enter(block);
    start(dynamic_bytes);
    if (const char *error = advance()) return error;
    if (const char *error = end()) return error;
  }
  return nullptr;
}

constexpr const char *no_order =
  "SILICA_EMULATED_ORDER is not one of forward, backward, shuffled:SEED";

}  // namespace

EarlyBlock::~EarlyBlock() {
  places[place].is_taken = false;
  // What has begun and will not be gone on with leaves its stacks as they are.
  enter(block);
  if (!is_done()) places[place].is_prepared = false;
}

const char *begin_early(const Kernel &kernel, const std::vector<char> &argument, Position grid,
                        int threads, size_t dynamic_bytes, std::shared_ptr<EarlyBlock> &begun) {
  if (!has_order()) return no_order;
  int place = 1;
  while (place <= early_max && places[place].is_taken) place++;
  if (place > early_max || !kernel.begins_early || !is_searching) return nullptr;
  prepare(place);
  // Who is first has something to do; behind the last rows and keys nobody has.
  const int index = is_shuffled ? Sequence(grid.x * grid.y * grid.z)[0] : 0;
  begun.reset(new EarlyBlock{place, index, argument, {}});
  places[place].is_taken = true;
  char *dynamic = dynamic_memory + (together_max + (size_t)place - 1) * dynamic_shared_max;
  begun->block = {&kernel, begun->argument.data(), position_of(index, grid), grid, threads,
                  place * threads_max, dynamic};
  enter(begun->block);
  start(dynamic_bytes);
  is_front_busy = true;
  const char *error = advance();
  is_front_busy = false;
  if (!error && is_done()) error = end();
  put_aside(begun->block);
  return error;
}

const char *run_grid(const Kernel &kernel, const void *argument, Position grid, int threads,
                     size_t dynamic_bytes, const EarlyBlock *begun) {
  if (!has_order()) return no_order;
  prepare(0);
  const Block block = {&kernel, argument, {}, grid, threads, 0, dynamic_memory};
  const char *error = kernel.is_together ? run_together(block, dynamic_bytes)
                                         : run_each(block, dynamic_bytes, begun);
  if (error) places[0].is_prepared = false;
  return error;
}

}  // namespace emulation
