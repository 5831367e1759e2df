// SPDX-License-Identifier: Apache-2.0
// What blocks (`blocks.cc`) and their fibers (`fibers.cc`) know of each other.
#pragma once
#include "fibers.h"

EMULATION {

/// What the fibers run.
extern const Kernel *running;
extern const void *argument_of_run;
/// Threads that a barrier of a block's first threads is for.
extern int first_threads;
/// How often something went on.
extern unsigned long progress;
/// The block's number, of all that ever ran.
extern unsigned current_block;

/// Gives `threads_max` fibers from this one on new stacks. True.
bool prepare_fibers(int first);
/// Lets the block's fibers begin.
void start_fibers();
/// Lets those go on that wait for the kernels in front.
void let_fibers_go_on();
/// Runs the block until it is done, or waits for what it cannot do itself.
const char *advance();
bool is_done();

/// Forgets copies and products of the block that ran in this place before; says what is left of
/// this one's.
void begin_block();
const char *end_block();

}  // namespace emulation
