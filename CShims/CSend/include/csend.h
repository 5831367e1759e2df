// SPDX-License-Identifier: Apache-2.0
// The `sendmsg` of this process, in the place of glibc's, with a word to whoever waits for it: gRPC
// C-core writes a message while it is posted, with a system call of its own, unless the connection
// is busy; then all that are posted meanwhile are written at once. At the moment of that call the
// connection is busy, and what is posted then is written together.
//
// Shared libraries find it because the dynamic linker looks into the program first.
#pragma once

/// Whether shared libraries call this `sendmsg`.
int csend_is_used(void);

/// Has `run(context)` called at the start of the next `sendmsg` of the calling thread, once.
void csend_arm(void (*run)(void *context), void *context);

/// Takes that back. Returns whether it was called.
int csend_disarm(void);
