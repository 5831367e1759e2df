// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "device_emulation.h"

EMULATION {

/// The kernel of that name, or null.
const Kernel *kernel_named(const char *name);

/// Runs all blocks of a grid, one after the other. Null, or what the kernel did wrong: a barrier
/// that some threads of a warp or of a block do not come to, say. One caller at a time.
const char *run_grid(const Kernel &kernel, const void *argument, Position grid, int threads,
                     size_t dynamic_shared_bytes);

constexpr size_t dynamic_shared_max = 232448;

/// What threads wait for may have come: a run in which nothing does is an error.
void note_progress();
/// Lets others run, then goes on.
void poll();

/// This thread has copied 16 bytes to a place in shared memory.
void note_copied(const void *place);

/// Forgets copies and products of the block before; says what is left of this one's.
void begin_block();
const char *end_block();

}  // namespace emulation
