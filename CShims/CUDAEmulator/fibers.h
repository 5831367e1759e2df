// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "device_emulation.h"

#include <memory>
#include <vector>

EMULATION {

/// The kernel of that name, or null.
const Kernel *kernel_named(const char *name);

constexpr size_t dynamic_shared_max = 232448;

/// A block of a kernel that began before the kernels in front of it were done, and waits for them.
struct EarlyBlock;

/// Begins one block, if the kernel does anything before it waits and there is a place to keep it.
/// Null, or what it did wrong.
const char *begin_early(const Kernel &kernel, const std::vector<char> &argument, Position grid,
                        int threads, size_t dynamic_shared_bytes,
                        std::shared_ptr<EarlyBlock> &begun);

/// Runs all blocks of a grid. Null, or what the kernel did wrong: a barrier that some threads of a
/// warp or of a block do not come to, say. One caller at a time.
const char *run_grid(const Kernel &kernel, const void *argument, Position grid, int threads,
                     size_t dynamic_shared_bytes, const EarlyBlock *begun);

/// What threads wait for may have come: a run in which nothing does is an error.
void note_progress();
/// Lets others run, then goes on.
void poll();

/// This thread has copied 16 bytes to a place in shared memory.
void note_copied(const void *place);

}  // namespace emulation
