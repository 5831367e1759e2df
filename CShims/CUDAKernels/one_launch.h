// SPDX-License-Identifier: Apache-2.0
// The words of kernels that are tasks of one launch (`one_launch.cu`): what `device.h` says of a
// block and its grid is here of the task that the block is at, and who waits for the kernels in
// front waits for the tasks in front.
#pragma once

/// Where a block is: at which task, of the task's grid, and how many blocks must have ended tasks
/// before what those wrote can be read. Shared and always in one place, since what is kept from
/// task to task in registers, an address too, those that are called cannot have.
struct alignas(16) TaskPlace {
  cu_task task, next_task;
  int x, y, z;
  uint32_t awaited;
  /// In the list.
  int index;
  const uint32_t *arrivals;

  DEVICE_MEMBER void begin(const uint32_t *counted) {
    arrivals = counted;
    awaited = 0, index = 0;
    x = y = z = 0;
  }
  DEVICE_MEMBER void next() {
    awaited += (uint32_t)launched_blocks();
    index++;
    x = y = z = 0;
  }

  DEVICE_MEMBER int blocks() const { return task.x * task.y * task.z; }
  DEVICE_MEMBER int block() const { return (z * task.y + y) * task.x + x; }
  DEVICE_MEMBER void find(int block) {
    const int line = block / task.x;
    x = block % task.x, y = line % task.y, z = line / task.y;
  }
};

DEVICE TaskPlace &task_place() {
  SHARED TaskPlace place;
  return place;
}

template <class Argument> DEVICE const Argument &task_argument() {
  static_assert(sizeof(Argument) <= cu_task_bytes, "a task has room for its argument");
  return *(const Argument *)task_place().task.argument;
}

DEVICE int block_x() { return task_place().x; }
DEVICE int block_y() { return task_place().y; }
DEVICE int block_z() { return task_place().z; }
DEVICE int grid_x() { return task_place().task.x; }
/// By each thread for itself, since threads of a block may come to it differently often.
DEVICE void wait_for_previous() { wait_until(task_place().arrivals, task_place().awaited); }

/// A template, so that only kernels that are tasks are compiled.
#define EARLY_KERNEL(name, Arguments, threads)                                     \
  [[maybe_unused]] DEVICE void name##_body(const Arguments &op);                   \
  template <int = 0> DEVICE_CALLED void name##_task() {                            \
    name##_body(task_argument<Arguments>());                                       \
  }                                                                                \
  [[maybe_unused]] DEVICE void name##_body(const Arguments &op)
#define EARLY_KERNEL_FOR(name, Arguments, threads, blocks) EARLY_KERNEL(name, Arguments, threads)
#define KERNEL(name, Arguments, threads)                                \
  [[maybe_unused]] DEVICE void name##_work(const Arguments &op);        \
  EARLY_KERNEL(name, Arguments, threads) {                              \
    wait_for_previous();                                                \
    name##_work(op);                                                    \
  }                                                                     \
  [[maybe_unused]] DEVICE void name##_work(const Arguments &op)
