// SPDX-License-Identifier: Apache-2.0
// Calls of Linux that glibc shows only to _GNU_SOURCE, which Swift's Glibc module does not set.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// Names the calling thread; at most 15 bytes.
void clinux_set_thread_name(const char *name);

/// Restricts the calling thread to the CPUs whose bits are set. Returns 0, or an errno.
int clinux_set_thread_cpus(const uint64_t *bits, size_t words);

/// Gives freed memory back to the system. Allocations wait meanwhile.
void clinux_trim_memory(void);

/// Fills in the CPUs that the calling thread may run on. Returns 0, or an errno.
int clinux_get_thread_cpus(uint64_t *bits, size_t words);

/// Asks for turns of that length for the calling thread, which come sooner the shorter they are.
/// Returns 0, or an errno. Linux before 6.12 takes it and does nothing.
int clinux_set_thread_slice(uint64_t nanoseconds);
