// SPDX-License-Identifier: Apache-2.0
// The threads of a block as fibers: each has a stack of its own and runs until it waits. Blocks run
// one after the other, or by turns where a kernel wants them together.
#include "fibers.h"
#include "wgmma_emulation.h"

#include <stdlib.h>
#include <sys/mman.h>

#include <vector>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

// What the kernels declare `SHARED`, by the linker.
extern "C" char __start_emulated_shared[], __stop_emulated_shared[];

namespace emulation {

int thread;
int first_thread;
Position block, grid;
int threads_of_block;
int waits_for_previous;
unsigned turns[threads_max];
Warp warps[threads_max / 32];
char *dynamic_shared;
Copies copies[threads_max];

namespace {

/// No power of two: the same depth of all stacks would be the same few lines of the caches.
constexpr size_t stack_bytes = (128 << 10) + 128;
constexpr int kernels_max = 256;
/// Blocks that run by turns, at most.
constexpr size_t together_max = 4;

/// What the lanes of a warp do: a bit of each lane in one of them.
struct Lanes {
  uint32_t ready, polling, at_warp, at_first, at_block, done;
};
constexpr uint32_t whole = ~0u;

Kernel kernels[kernels_max];
int kernel_count;
Lanes lanes[threads_max / 32];
bool are_prepared;
const Kernel *running;
const void *argument_of_run;
char *stacks;
/// Threads that a barrier of a block's first threads is for.
int first_threads;
/// What a kernel did wrong, and how often something went on.
const char *failure;
unsigned long progress;

void pause_fiber(uint32_t Lanes::*state);

void fiber_main() {
  while (true) {
    running->run(argument_of_run);
    note_progress();
    pause_fiber(&Lanes::done);
  }
}

#if defined(__x86_64__)

void *scheduler_stack;
void *fiber_stacks[threads_max];

// Saves what the caller expects to keep, and goes on where `to` was left.
__attribute__((naked, noinline)) void switch_stack(void **, void *) {
  asm("pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15;"
      "movq %rsp, (%rdi); movq %rsi, %rsp;"
      "popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp; ret");
}

void prepare(int index) {
  void **top = (void **)(stacks + (size_t)(index + 1) * stack_bytes);
  *--top = nullptr;  // where `fiber_main` would return to; keeps the stack aligned as after a call
  *--top = (void *)fiber_main;
  for (int i = 0; i < 6; i++) *--top = nullptr;
  fiber_stacks[index] = top;
}

void resume(int index) { switch_stack(&scheduler_stack, fiber_stacks[index]); }
void leave() { switch_stack(&fiber_stacks[thread], scheduler_stack); }
void switch_fiber(int from, int to) { switch_stack(&fiber_stacks[from], fiber_stacks[to]); }

#else

ucontext_t scheduler_context;
ucontext_t fiber_contexts[threads_max];

void prepare(int index) {
  getcontext(&fiber_contexts[index]);
  fiber_contexts[index].uc_stack.ss_sp = stacks + (size_t)index * stack_bytes;
  fiber_contexts[index].uc_stack.ss_size = stack_bytes;
  makecontext(&fiber_contexts[index], fiber_main, 0);
}

void resume(int index) { swapcontext(&scheduler_context, &fiber_contexts[index]); }
void leave() { swapcontext(&fiber_contexts[thread], &scheduler_context); }
void switch_fiber(int from, int to) { swapcontext(&fiber_contexts[from], &fiber_contexts[to]); }

#endif

void prepare_all() {
  if (are_prepared) return;
  if (!stacks) {
    void *memory = mmap(nullptr, stack_bytes * threads_max, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) abort();
    stacks = (char *)memory;
    dynamic_shared = (char *)aligned_alloc(64, dynamic_shared_max * together_max);
  }
  for (int index = 0; index < threads_max; index++) prepare(index);
  are_prepared = true;
}

Lanes &lanes_of(int thread_of_block) { return lanes[(first_thread + thread_of_block) / 32]; }

/// Of a warp all lanes, that were somewhere else.
void release(Lanes &warp, uint32_t Lanes::*state) {
  warp.*state = 0;
  warp.ready = whole;
  note_progress();
}

void go_on_with(int next) {
  const int self = thread;
  if (next == self) return;
  thread = next;
  switch_fiber(self, next);
}

/// The lane that runs does something else now. The next lane of its warp that can goes on, in their
/// order and without the scheduler; when all have come to what they do together, from the first on.
void pause_fiber(uint32_t Lanes::*state) {
  Lanes &warp = lanes[thread / 32];
  const int lane = thread % 32, first = thread - lane;
  const uint32_t own = 1u << lane;
  warp.ready &= ~own, warp.polling &= ~own;
  warp.*state |= own;
  const uint32_t later = (warp.ready | warp.polling) & ~1u << lane;
  if (later) return go_on_with(first + __builtin_ctz(later));
  if (warp.at_warp != whole) return leave();
  release(warp, &Lanes::at_warp);
  go_on_with(first);
}

/// Runs a warp until its threads wait for others or are done.
const char *run_warp(int first) {
  Lanes &warp = lanes_of(first);
  if (const uint32_t some = warp.ready | warp.polling) {
    thread = first_thread + first + __builtin_ctz(some);
    resume(thread);
    if (failure) return failure;
  }
  if (warp.polling) return nullptr;
  if (warp.at_warp) return "some threads of a warp do not come to what the others do together";
  const bool is_whole = (warp.at_block == 0 || warp.at_block == whole)
    && (warp.at_first == 0 || warp.at_first == whole);
  return is_whole ? nullptr : "some threads of a warp do not come to a barrier";
}

/// Of the block's first threads.
bool are_all(int threads, uint32_t Lanes::*state) {
  for (int i = 0; i < threads; i += 32) {
    if (lanes_of(i).*state != whole) return false;
  }
  return true;
}

void release_all(int threads, uint32_t Lanes::*state) {
  for (int i = 0; i < threads; i += 32) release(lanes_of(i), state);
}

bool is_done() { return are_all(threads_of_block, &Lanes::done); }

void start_block() {
  for (int i = 0; i < threads_of_block; i += 32) lanes_of(i) = {whole, 0, 0, 0, 0, 0};
  for (int i = first_thread; i < first_thread + threads_of_block; i++) {
    turns[i] = 0;
    copies[i].count = copies[i].groups = 0;
  }
}

/// Runs a block until it is done, or waits for what it cannot do itself.
const char *advance() {
  const int threads = threads_of_block;
  while (true) {
    const unsigned long before = progress;
    bool waits = false;
    for (int first = 0; first < threads; first += 32) {
      if (lanes_of(first).done == whole) continue;
      if (const char *error = run_warp(first)) return error;
      waits |= lanes_of(first).polling != 0;
    }
    if (is_done()) return nullptr;
    if (are_all(threads, &Lanes::at_block)) release_all(threads, &Lanes::at_block);
    if (first_threads > 0 && are_all(first_threads, &Lanes::at_first)) {
      release_all(first_threads, &Lanes::at_first);
    }
    if (progress != before) continue;
    return waits ? nullptr : "some warps of a block do not come to a barrier";
  }
}

constexpr const char *endless = "threads wait for what does not come";

const char *run_block() {
  waits_for_previous = 0;
  first_threads = 0;
  start_block();
  if (const char *error = advance()) return error;
  if (!is_done()) return endless;
  return waits_for_previous == 0 ? "a block ends and has not waited for the kernels in front"
                                 : end_block();
}

/// Runs blocks by turns, each for as long as it does not wait for another: so each is as far ahead
/// of the others as it may be, and what it should have waited for is not there.
const char *run_together(int blocks, size_t dynamic_shared_bytes) {
  if (blocks > (int)together_max || blocks * threads_of_block > threads_max) {
    return "more blocks than can run together";
  }
  const size_t bytes = (size_t)(__stop_emulated_shared - __start_emulated_shared);
  std::vector<std::vector<char>> shared((size_t)blocks, std::vector<char>(bytes, (char)0xff));
  char *const dynamic = dynamic_shared;
  const auto turn = [&](int index) {
    block = {index, 0, 0};
    first_thread = index * threads_of_block;
    dynamic_shared = dynamic + (size_t)index * dynamic_shared_max;
    memcpy(__start_emulated_shared, shared[(size_t)index].data(), bytes);
    const char *error = is_done() ? nullptr : advance();
    memcpy(shared[(size_t)index].data(), __start_emulated_shared, bytes);
    return error;
  };
  first_threads = 0;
  for (int index = 0; index < blocks; index++) {
    first_thread = index * threads_of_block;
    memset(dynamic + (size_t)index * dynamic_shared_max, 0xff, dynamic_shared_bytes);
    start_block();
  }
  const char *error = nullptr;
  for (int done = 0; !error && done < blocks;) {
    const unsigned long before = progress;
    done = 0;
    for (int index = 0; !error && index < blocks; index++) {
      error = turn(index);
      done += is_done();
    }
    if (!error && done < blocks && progress == before) error = endless;
  }
  first_thread = 0, dynamic_shared = dynamic;
  return error;
}

}  // namespace

void add(const Kernel &kernel) {
  if (kernel_count == kernels_max) abort();
  kernels[kernel_count++] = kernel;
}

const Kernel *kernel_named(const char *name) {
  for (int i = 0; i < kernel_count; i++) {
    if (strcmp(kernels[i].name, name) == 0) return &kernels[i];
  }
  return nullptr;
}

void Copies::finish(int pending) {
  const int done = groups > pending ? groups - pending : 0;
  if (done == 0) return;
  const int end = ends[done - 1];
  for (int i = 0; i < end; i++) {
    if (list[i].source) {
      memcpy(list[i].destination, list[i].source, 16);
    } else {
      memset(list[i].destination, 0, 16);
    }
    note_copied(list[i].destination);
  }
  memmove(list, list + end, (size_t)(count - end) * sizeof(Copy));
  count -= end, groups -= done;
  for (int i = 0; i < groups; i++) ends[i] = ends[i + done] - end;
}

void wait_for_warp() { pause_fiber(&Lanes::at_warp); }

void do_together(void (*work)(Warp &)) {
  if ((lanes[thread / 32].at_warp | 1u << thread % 32) == whole) work(warps[thread / 32]);
  pause_fiber(&Lanes::at_warp);
}

void wait_for_block() { pause_fiber(&Lanes::at_block); }

void wait_for_first(int threads) {
  first_threads = threads;
  pause_fiber(&Lanes::at_first);
}

void note_progress() { progress++; }

void poll() { pause_fiber(&Lanes::polling); }

void fail(const char *what) {
  failure = what;
  while (true) leave();
}

void fail_misaligned() { fail("what is read or written at once is not aligned"); }

const char *run_grid(const Kernel &kernel, const void *argument, Position size, int threads,
                     size_t dynamic_shared_bytes) {
  prepare_all();
  running = &kernel;
  argument_of_run = argument;
  grid = size;
  threads_of_block = threads;
  failure = nullptr;
  if (kernel.is_together) {
    begin_block();
    const char *error = run_together(size.x, dynamic_shared_bytes);
    if (error) are_prepared = false;
    return error;
  }
  for (block.z = 0; block.z < size.z; block.z++) {
    for (block.y = 0; block.y < size.y; block.y++) {
      for (block.x = 0; block.x < size.x; block.x++) {
        // What nobody wrote is not a number.
        memset(dynamic_shared, 0xff, dynamic_shared_bytes);
        begin_block();
        if (const char *error = run_block()) {
          are_prepared = false;
          return error;
        }
      }
    }
  }
  return nullptr;
}

}  // namespace emulation

/// Called by what `-fsanitize=alignment` makes of kernels: a processor would not mind.
extern "C" __attribute__((visibility("hidden")))
void __ubsan_handle_type_mismatch_minimal_abort() {
  emulation::fail_misaligned();
}
