// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "device_emulation.h"

namespace emulation {

/// The kernel of that name, or null.
const Kernel *kernel_named(const char *name);

/// Runs all blocks of a grid, one after the other. Null, or what the kernel did wrong: a barrier
/// that some threads of a warp or of a block do not come to. One caller at a time.
const char *run_grid(const Kernel &kernel, const void *argument, Position grid, int threads,
                     size_t dynamic_shared_bytes);

}  // namespace emulation
