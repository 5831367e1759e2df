// SPDX-License-Identifier: Apache-2.0
// A step of few rows as one launch. The kernels that a graph would have are tasks here, in a list
// that the host has written once; as many blocks as the GPU holds go through it together, each
// taking every n-th block of a task's grid.
//
//   for each task: the blocks of it that are mine; then one more has arrived
//   wait_for_previous(): until all blocks have arrived as often as there are tasks in front
//
// Bound by latency: V2-Lite has 270 kernels a token, and the border between two takes as long as
// what many of them do. A border is one addition and one load here, and a product has asked for its
// first weights before it. Numbers and their order are those of the kernels, which are the same
// source: no bit changes.
//
// The kernel keeps nothing in registers, since ptxas gives what it calls those that are left, and
// attention over wide values needs nearly all: where a block is lies in shared memory
// (`TaskPlace`). The next task is copied there meanwhile, and nobody waits for it.
//
// For one format of weights beside bfloat16 and for values of up to `width` columns; a list that
// needs another kernel is not launched so. In one kernel with the products of all formats ptxas
// (13.0) spills in each of them. Those of fp8a8 are others: the compiler lets no `wgmma`
// be under way in a kernel that calls. The file is a second set of machine code, since words of
// `device.h` mean something else in it.
// Products of few tokens go from block to block without a break (`few_stream.h`). Not yet run on a
// GPU.
#define CU_ONE_LAUNCH
#include "attention_rows.h"
#include "few_norm.h"
#include "few_sums.h"
#include "ring.h"
#include "rope.h"
#include "slots.h"

namespace {

#include "attention.cu"
#include "attention_merge.cu"
#include "choose.cu"
#include "experts.cu"
namespace linear_few_ {
#include "linear_few.cu"
#include "few_stream.h"
}
namespace norm_ {
#include "norm.cu"
}
namespace route_ {
#include "route.cu"
}
#include "rows.cu"
namespace store_ {
#include "store.cu"
}

static_assert(sizeof(cu_task) % 16 == 0 && sizeof(cu_task) / 16 <= 32, "16 bytes a lane");

/// Begins to copy a task, by the last warp, to where the next one comes. Called, as what is done at
/// a task's end: an address that is the same for every task would be kept in a register.
DEVICE_CALLED void fetch_task(const cu_task *task) {
  const int index = thread_index() - (cu_threads - 32);
  if (index < 0 || index >= (int)sizeof(cu_task) / 16) return;
  begin_copy((Words4 *)&task_place().next_task + index, (const Words4 *)task + index, true);
  end_copies();
}

/// Turns to the task that was fetched, by who has fetched it.
DEVICE void turn_to_task() {
  TaskPlace &place = task_place();
  const int index = thread_index() - (cu_threads - 32);
  if (index < 0 || index >= (int)sizeof(cu_task) / 16) return;
  wait_for_copies<0>();
  ((Words4 *)&place.task)[index] = ((const Words4 *)&place.next_task)[index];
}

DEVICE_CALLED void begin_tasks(const cu_task *tasks, const uint32_t *arrivals) {
  fetch_task(tasks);
  turn_to_task();
  if (thread_index() == 0) task_place().begin(arrivals);
}

/// Behind a barrier: what the block has done of its task has arrived.
DEVICE_CALLED void end_task(uint32_t *arrivals) {
  turn_to_task();
  if (thread_index() > 0) return;
  add_released(arrivals, 1);
  task_place().next();
}

/// All blocks of it that are the launch's block's.
template <int format, int tiles> DEVICE_CALLED void run_product() {
  DYNAMIC_SHARED(char, shared);
  const cu_task &task = task_place().task;
  linear_few_::FewStream<format, tiles>(task_argument<cu_product>(), task, shared).run();
}

/// With as many threads as the other tasks.
template <int per_lane> DEVICE_CALLED void choose_task() {
  choose<cu_threads, per_lane>(task_argument<cu_route>(), block_x(), grid_x());
}

/// A block of a task that is no product. Calls, so that each task has the registers that it needs,
/// and none are kept for another's.
template <int width> DEVICE void run_task() {
  switch (task_place().task.kernel) {
  case cu_task_norm: return norm_::rms_norm_task();
  case cu_task_store: return store_::store_task();
  case cu_task_attend:
    if constexpr (width <= cu_value_width_few) return attend_128_task();
    else return attend_512_task();
  case cu_task_merge: return merge_task();
  case cu_task_route_1: return route_::route_1_task();
  case cu_task_route_4: return route_::route_4_task();
  case cu_task_choose_64: return choose_task<2>();
  case cu_task_choose_256: return choose_task<8>();
  case cu_task_combine: return combine_experts_task();
  case cu_task_embed: return embed_task();
  case cu_task_swiglu: return swiglu_task();
  case cu_task_add: return add_task();
  case cu_task_join: return join_task();
  case cu_task_select: return select_outputs_task();
  case cu_task_narrow_rows: return narrow_rows_task();
  case cu_task_quantize_rows: return quantize_rows_task();
  }
}

/// The block's share of a task. Shared memory is another's between two blocks of its grid.
template <int width> DEVICE void run_blocks() {
  TaskPlace &place = task_place();
  if (launched_block() >= place.blocks()) return;
  if (thread_index() == 0) place.find(launched_block());
  while (true) {
    sync_block();
    run_task<width>();
    const int next = place.block() + launched_blocks();
    sync_block();
    if (next >= place.blocks()) return;
    if (thread_index() == 0) place.find(next);
  }
}

template <int format, int width> DEVICE void run_share() {
  switch (task_place().task.kernel) {
  case cu_task_product: return run_product<format, 1>();
  case cu_task_gated: return run_product<format, 2>();
  case cu_task_product_bf16: return run_product<cu_format_bf16, 1>();
  case cu_task_gated_bf16: return run_product<cu_format_bf16, 2>();
  default: return run_blocks<width>();
  }
}

template <int format, int width> DEVICE void run_all(const cu_one_launch &op) {
  begin_tasks(op.tasks, op.arrivals);
  while (true) {
    sync_block();
    const int next = task_place().index + 1;
    if (next > op.count) return;
    if (next < op.count) fetch_task(op.tasks + next);
    run_share<format, width>();
    // Who arrives has waited: arrivals are counted, and not by whom.
    wait_for_previous();
    sync_block();
    end_task(op.arrivals);
  }
}

}  // namespace

// Grid: as many blocks as the GPU holds together, one a multiprocessor, so that tasks have all
// registers. Shared memory: what the most of the tasks takes.
#define ONE_LAUNCH(name, format)                                                              \
  TOGETHER_KERNEL(step_##name##_128, cu_one_launch, cu_threads) {                             \
    run_all<format, cu_value_width_few>(op);                                                  \
  }                                                                                           \
  TOGETHER_KERNEL(step_##name##_512, cu_one_launch, cu_threads) {                             \
    run_all<format, cu_value_width_max>(op);                                                  \
  }

ONE_LAUNCH(bf16, cu_format_bf16)
ONE_LAUNCH(fp8, cu_format_fp8)
ONE_LAUNCH(w8, cu_format_w8)
ONE_LAUNCH(w4, cu_format_w4)
ONE_LAUNCH(w8a8, cu_format_w8a8)
ONE_LAUNCH(sparse, cu_format_sparse)
