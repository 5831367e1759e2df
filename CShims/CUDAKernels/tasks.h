// SPDX-License-Identifier: Apache-2.0
// What a step that is one launch is launched with (`one_launch.cu`); part of `arguments.h`.
#pragma once
#include <stdint.h>

/// Kernels that are tasks of a step in one launch (`one_launch.cu`).
typedef enum cu_task_kernel {
  /// Of the launch's own format of weights, of a gated unit, and of bfloat16.
  cu_task_product = 0,
  cu_task_gated = 1,
  cu_task_product_bf16 = 2,
  cu_task_gated_bf16 = 3,
  cu_task_norm = 4,
  cu_task_store = 5,
  cu_task_attend = 6,
  cu_task_merge = 7,
  cu_task_route_1 = 8,
  cu_task_route_4 = 9,
  cu_task_choose_64 = 10,
  cu_task_choose_256 = 11,
  cu_task_combine = 12,
  cu_task_embed = 13,
  cu_task_swiglu = 14,
  cu_task_add = 15,
  cu_task_join = 16,
  cu_task_select = 17,
  cu_task_narrow_rows = 18,
  cu_task_quantize_rows = 19,
} cu_task_kernel;

enum {
  /// Of a task's argument, at most.
  cu_task_bytes = 336,
};

/// A kernel, its grid and what it is launched with.
typedef struct cu_task {
  int32_t kernel;
  int32_t x, y, z;
  uint8_t argument[cu_task_bytes];
} cu_task;

typedef struct cu_one_launch {
  const cu_task *tasks;
  /// `cu_step.arrivals`, 0 at the begin.
  uint32_t *arrivals;
  int32_t count, unused;
} cu_one_launch;
