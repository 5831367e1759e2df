// SPDX-License-Identifier: Apache-2.0
// Calls of Linux that glibc shows only to _GNU_SOURCE, which Swift's Glibc module does not set.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// Names the calling thread; at most 15 bytes.
void clinux_set_thread_name(const char *name);

/// Restricts the calling thread to the CPUs whose bits are set. Returns 0, or an errno.
int clinux_set_thread_cpus(const uint64_t *bits, size_t words);

/// Bytes of all that was allocated and not freed.
uint64_t clinux_allocated_bytes(void);

/// Gives freed memory back to the system. Allocations wait meanwhile.
void clinux_trim_memory(void);

/// Fills in the CPUs that the calling thread may run on. Returns 0, or an errno.
int clinux_get_thread_cpus(uint64_t *bits, size_t words);

/// Sends a message on a Unix socket, with a descriptor beside it unless that is -1. Returns 0, or
/// an errno.
int clinux_send_message(int socket, const void *bytes, size_t count, int descriptor);

/// The next message, of at most `room` bytes, and the descriptor that came with it or -1. Returns
/// its bytes, 0 at the end, or a negated errno.
ptrdiff_t clinux_receive_message(int socket, void *bytes, size_t room, int *descriptor);

/// Who is at the other end of a Unix socket. Returns 0, or an errno.
int clinux_get_peer(int socket, uint32_t *user, int32_t *process);

/// Asks for turns of that length for the calling thread, which come sooner the shorter they are.
/// Returns 0, or an errno. Linux before 6.12 takes it and does nothing.
int clinux_set_thread_slice(uint64_t nanoseconds);
