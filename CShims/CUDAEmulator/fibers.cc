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

constexpr size_t stack_bytes = 128 << 10;
constexpr int kernels_max = 256;
/// Blocks that run by turns, at most.
constexpr size_t together_max = 4;

enum class State { ready, polling, at_warp, at_first, at_block, done };

Kernel kernels[kernels_max];
int kernel_count;
State states[threads_max];
bool are_prepared;
const Kernel *running;
const void *argument_of_run;
char *stacks;
/// Threads that a barrier of a block's first threads is for.
int first_threads;
/// What a kernel did wrong, and how often something went on.
const char *failure;
unsigned long progress;

void pause_fiber();

void fiber_main() {
  while (true) {
    running->run(argument_of_run);
    states[thread] = State::done;
    note_progress();
    pause_fiber();
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
void pause_fiber() { switch_stack(&fiber_stacks[thread], scheduler_stack); }

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
void pause_fiber() { swapcontext(&fiber_contexts[thread], &scheduler_context); }

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

/// Of some threads of the block.
int count(int first, int end, State state) {
  int found = 0;
  for (int i = first; i < end; i++) found += states[first_thread + i] == state;
  return found;
}

void release(int first, int end) {
  for (int i = first; i < end; i++) states[first_thread + i] = State::ready;
  note_progress();
}

/// Runs a warp until its threads wait for others or are done.
const char *run_warp(int first) {
  const int end = first + 32;
  while (true) {
    for (int i = first; i < end; i++) {
      thread = first_thread + i;
      if (states[thread] == State::ready || states[thread] == State::polling) resume(thread);
      if (failure) return failure;
    }
    if (count(first, end, State::at_warp) != 32) break;
    release(first, end);
  }
  if (count(first, end, State::polling) > 0) return nullptr;
  if (count(first, end, State::at_warp) > 0) {
    return "some threads of a warp do not come to what the others do together";
  }
  const bool is_whole = count(first, end, State::at_block) % 32 == 0
    && count(first, end, State::at_first) % 32 == 0;
  return is_whole ? nullptr : "some threads of a warp do not come to a barrier";
}

bool is_done() { return count(0, threads_of_block, State::done) == threads_of_block; }

void start_block() {
  for (int i = first_thread; i < first_thread + threads_of_block; i++) {
    states[i] = State::ready, turns[i] = 0;
    copies[i].count = copies[i].groups = 0;
  }
}

/// Runs a block until it is done, or waits for what it cannot do itself.
const char *advance() {
  const int threads = threads_of_block;
  while (true) {
    const unsigned long before = progress;
    for (int first = 0; first < threads; first += 32) {
      if (count(first, first + 32, State::done) == 32) continue;
      if (const char *error = run_warp(first)) return error;
    }
    if (is_done()) return nullptr;
    if (count(0, threads, State::at_block) == threads) release(0, threads);
    if (first_threads > 0 && count(0, first_threads, State::at_first) == first_threads) {
      release(0, first_threads);
    }
    if (progress != before) continue;
    const bool waits = count(0, threads, State::polling) > 0;
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

void wait_for_warp() {
  states[thread] = State::at_warp;
  pause_fiber();
}

void wait_for_block() {
  states[thread] = State::at_block;
  pause_fiber();
}

void wait_for_first(int threads) {
  first_threads = threads;
  states[thread] = State::at_first;
  pause_fiber();
}

void note_progress() { progress++; }

void poll() {
  states[thread] = State::polling;
  pause_fiber();
}

void fail(const char *what) {
  failure = what;
  while (true) poll();
}

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
