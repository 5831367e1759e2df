// SPDX-License-Identifier: Apache-2.0
// The words of kernels that are tasks of one launch (`one_launch.cu`): what `device.h` says of a
// block and its grid is here of the task that the block is at, and who waits for the kernels in
// front waits for the tasks in front.
#pragma once

/// Where a block is: of the task's grid, and how many blocks must have ended tasks before what
/// those wrote can be read.
struct TaskPlace {
  int x, y, z, grid_x;
  uint32_t awaited;
  const uint32_t *arrivals;
};

DEVICE TaskPlace &task_place() {
  SHARED TaskPlace place;
  return place;
}

DEVICE int block_x() { return task_place().x; }
DEVICE int block_y() { return task_place().y; }
DEVICE int block_z() { return task_place().z; }
DEVICE int grid_x() { return task_place().grid_x; }
/// By each thread for itself, since threads of a block may come to it differently often.
DEVICE void wait_for_previous() { wait_until(task_place().arrivals, task_place().awaited); }

#define EARLY_KERNEL(name, Arguments, threads) \
  [[maybe_unused]] DEVICE_CALLED void name##_task(const Arguments &op)
#define EARLY_KERNEL_FOR(name, Arguments, threads, blocks) EARLY_KERNEL(name, Arguments, threads)
#define KERNEL(name, Arguments, threads)                                \
  [[maybe_unused]] DEVICE void name##_work(const Arguments &op);        \
  EARLY_KERNEL(name, Arguments, threads) {                              \
    wait_for_previous();                                                \
    name##_work(op);                                                    \
  }                                                                     \
  [[maybe_unused]] DEVICE void name##_work(const Arguments &op)
