// SPDX-License-Identifier: Apache-2.0
// The threads of a block as fibers: each has a stack of its own and runs until it waits.
#include "blocks.h"
#include "order.h"

#include <stdlib.h>
#include <sys/mman.h>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emulation {

int thread;
int first_thread;
Position block, grid;
int threads_of_block;
int waits_for_previous;
bool is_front_busy;
unsigned turns[fibers_max];
Warp warps[fibers_max / 32];
Copies copies[fibers_max];

const Kernel *running;
const void *argument_of_run;
int first_threads;
unsigned long progress;

namespace {

/// No power of two: the same depth of all stacks would be the same few lines of the caches.
constexpr size_t stack_bytes = (128 << 10) + 128;
constexpr int kernels_max = 256;

/// What the lanes of a warp do: of each a bit in one of them, at its place in their order.
struct Lanes {
  uint32_t ready, polling, at_warp, at_first, at_block, at_front, done;
  const LaneOrder *order;
};
constexpr uint32_t whole = ~0u;

// Forward without a look into tables: lanes change some hundred million times in the tests.
int place_of(const Lanes &warp, int lane) {
  return is_searching ? warp.order->place_of[lane] : lane;
}
int lane_at(const Lanes &warp, int place) {
  return is_searching ? warp.order->lane_at[place] : place;
}

Kernel kernels[kernels_max];
int kernel_count;
Lanes lanes[fibers_max / 32];
char *stacks;
/// What a kernel did wrong.
const char *failure;

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
void *fiber_stacks[fibers_max];

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
ucontext_t fiber_contexts[fibers_max];

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

Lanes &lanes_of(int thread_of_block) { return lanes[(first_thread + thread_of_block) / 32]; }

/// Of a warp all lanes, that were somewhere else.
void release(Lanes &warp, uint32_t Lanes::*state) {
  warp.*state = 0;
  warp.ready = whole;
  if (is_shuffled) warp.order = next_lane_order();
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
  const int lane = thread % 32, first = thread - lane, place = place_of(warp, lane);
  const uint32_t own = 1u << place;
  warp.ready &= ~own, warp.polling &= ~own;
  warp.*state |= own;
  const uint32_t later = (warp.ready | warp.polling) & ~1u << place;
  if (later) return go_on_with(first + lane_at(warp, __builtin_ctz(later)));
  if (warp.at_warp != whole) return leave();
  release(warp, &Lanes::at_warp);
  go_on_with(first + lane_at(warp, 0));
}

/// Runs a warp until its threads wait for others or are done.
const char *run_warp(int first) {
  Lanes &warp = lanes_of(first);
  if (const uint32_t some = warp.ready | warp.polling) {
    thread = first_thread + first + lane_at(warp, __builtin_ctz(some));
    resume(thread);
    if (failure) return failure;
  }
  if (warp.polling || warp.at_front) return nullptr;
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

}  // namespace

bool prepare_fibers(int first) {
  if (!stacks) {
    void *memory = mmap(nullptr, stack_bytes * fibers_max, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) abort();
    stacks = (char *)memory;
  }
  for (int index = first; index < first + threads_max; index++) prepare(index);
  return true;
}

bool is_done() { return are_all(threads_of_block, &Lanes::done); }

void start_fibers() {
  failure = nullptr;
  first_threads = 0;
  waits_for_previous = 0;
  for (int i = 0; i < threads_of_block; i += 32) {
    lanes_of(i) = {whole, 0, 0, 0, 0, 0, 0, next_lane_order()};
  }
  for (int i = first_thread; i < first_thread + threads_of_block; i++) {
    turns[i] = 0;
    copies[i].count = copies[i].groups = 0;
  }
}

void let_fibers_go_on() {
  for (int i = 0; i < threads_of_block; i += 32) {
    Lanes &warp = lanes_of(i);
    warp.ready |= warp.at_front;
    warp.at_front = 0;
  }
}

const char *advance() {
  const int threads = threads_of_block;
  while (true) {
    const unsigned long before = progress;
    bool waits = false;
    const Sequence order(threads / 32);
    for (int i = 0; i < threads / 32; i++) {
      const int first = 32 * order[i];
      if (lanes_of(first).done == whole) continue;
      if (const char *error = run_warp(first)) return error;
      waits |= lanes_of(first).polling != 0 || lanes_of(first).at_front != 0;
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
  const Lanes &warp = lanes[thread / 32];
  if ((warp.at_warp | 1u << place_of(warp, thread % 32)) == whole) work(warps[thread / 32]);
  pause_fiber(&Lanes::at_warp);
}

void wait_for_block() { pause_fiber(&Lanes::at_block); }

void wait_for_first(int threads) {
  first_threads = threads;
  pause_fiber(&Lanes::at_first);
}

void note_progress() { progress++; }

void poll() { pause_fiber(&Lanes::polling); }

void wait_for_front() { pause_fiber(&Lanes::at_front); }

void fail(const char *what) {
  failure = what;
  while (true) leave();
}

void fail_misaligned() { fail("what is read or written at once is not aligned"); }

}  // namespace emulation

/// Called by what `-fsanitize=alignment` makes of kernels: a processor would not mind.
extern "C" __attribute__((visibility("hidden")))
void __ubsan_handle_type_mismatch_minimal_abort() {
  emulation::fail_misaligned();
}
