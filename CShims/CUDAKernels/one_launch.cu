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
// For one format of weights beside bfloat16 and for values of up to `width` columns; a list that
// needs another kernel is not launched so. Those of fp8a8 are others: the compiler lets no `wgmma`
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

static_assert(sizeof(cu_task) % 4 == 0 && sizeof(cu_task) / 4 <= cu_threads, "a word a thread");

/// A thread copies a word of a task to shared memory.
DEVICE void copy_task(const cu_task *task, cu_task &to) {
  const int index = thread_index();
  if (index < (int)sizeof(cu_task) / 4) ((uint32_t *)&to)[index] = ((const uint32_t *)task)[index];
}

template <class Argument> DEVICE const Argument &argument_of(const cu_task &task) {
  static_assert(sizeof(Argument) <= cu_task_bytes, "a task has room for its argument");
  return *(const Argument *)task.argument;
}

/// All blocks of it that are the launch's block's.
template <int format, int tiles> DEVICE_CALLED void run_product(const cu_task &task) {
  DYNAMIC_SHARED(char, shared);
  linear_few_::FewStream<format, tiles>(argument_of<cu_product>(task), task, shared).run();
}

/// With as many threads as the other tasks.
template <int per_lane> DEVICE_CALLED void choose_task(const cu_route &op) {
  choose<cu_threads, per_lane>(op);
}

/// A block of a task that is no product. Calls, so that each task has the registers that it needs,
/// and none are kept for another's.
template <int width> DEVICE void run_task(const cu_task &task) {
  switch (task.kernel) {
  case cu_task_norm: return norm_::rms_norm_task(argument_of<cu_norm>(task));
  case cu_task_store: return store_::store_task(argument_of<cu_store>(task));
  case cu_task_attend:
    if constexpr (width <= cu_value_width_few) {
      return attend_128_task(argument_of<cu_attention>(task));
    } else {
      return attend_512_task(argument_of<cu_attention>(task));
    }
  case cu_task_merge: return merge_task(argument_of<cu_attention>(task));
  case cu_task_route_1: return route_::route_1_task(argument_of<cu_route>(task));
  case cu_task_route_4: return route_::route_4_task(argument_of<cu_route>(task));
  case cu_task_choose_64: return choose_task<2>(argument_of<cu_route>(task));
  case cu_task_choose_256: return choose_task<8>(argument_of<cu_route>(task));
  case cu_task_combine: return combine_experts_task(argument_of<cu_combine>(task));
  case cu_task_embed: return embed_task(argument_of<cu_embed>(task));
  case cu_task_swiglu: return swiglu_task(argument_of<cu_binary>(task));
  case cu_task_add: return add_task(argument_of<cu_binary>(task));
  case cu_task_join: return join_task(argument_of<cu_binary>(task));
  case cu_task_select: return select_outputs_task(argument_of<cu_select>(task));
  case cu_task_narrow_rows: return narrow_rows_task(argument_of<cu_narrow_rows>(task));
  case cu_task_quantize_rows: return quantize_rows_task(argument_of<cu_quantize>(task));
  }
}

/// The block's share of a task. Shared memory is another's between two blocks of its grid.
template <int width> DEVICE void run_blocks(const cu_task &task) {
  TaskPlace &place = task_place();
  const int blocks = task.x * task.y * task.z;
  for (int block = launched_block(); block < blocks; block += launched_blocks()) {
    if (thread_index() == 0) {
      const int line = block / task.x;
      place.x = block % task.x, place.y = line % task.y, place.z = line / task.y;
    }
    sync_block();
    run_task<width>(task);
    sync_block();
  }
}

template <int format, int width> DEVICE void run_share(const cu_task &task) {
  switch (task.kernel) {
  case cu_task_product: return run_product<format, 1>(task);
  case cu_task_gated: return run_product<format, 2>(task);
  case cu_task_product_bf16: return run_product<cu_format_bf16, 1>(task);
  case cu_task_gated_bf16: return run_product<cu_format_bf16, 2>(task);
  default: return run_blocks<width>(task);
  }
}

template <int format, int width> DEVICE void run_all(const cu_one_launch &op) {
  // Arguments hold pointers, and are read where they lie; bytes would be laid anywhere.
  alignas(16) SHARED cu_task tasks[2];
  TaskPlace &place = task_place();
  copy_task(op.tasks, tasks[0]);
  for (int i = 0; i < op.count; i++) {
    if (thread_index() == 0) {
      place.arrivals = op.arrivals;
      place.awaited = (uint32_t)(i * launched_blocks());
      place.x = place.y = place.z = 0;
    }
    sync_block();
    if (thread_index() == 0) place.grid_x = tasks[i % 2].x;
    if (i + 1 < op.count) copy_task(op.tasks + i + 1, tasks[(i + 1) % 2]);
    run_share<format, width>(tasks[i % 2]);
    // Who arrives has waited: arrivals are counted, and not by whom.
    wait_for_previous();
    sync_block();
    if (thread_index() == 0) add_released(op.arrivals, 1);
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
