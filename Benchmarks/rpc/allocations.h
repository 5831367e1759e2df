/* SPDX-License-Identifier: Apache-2.0 */
/* What allocations.so counts, in a file that others may map. */
#pragma once
#include <stdint.h>

#ifdef __cplusplus
#define ATOMIC_U64 uint64_t
#else
#include <stdatomic.h>
#define ATOMIC_U64 _Atomic uint64_t
#endif

/* The file that the library maps; its name is in this variable of the environment. */
#define ALLOCATIONS_VARIABLE "BENCH_ALLOCATIONS"

struct allocation_counts {
  ATOMIC_U64 count; /* calls that allocate: malloc, calloc, realloc, aligned_alloc and so on */
  ATOMIC_U64 bytes; /* what they asked for */
  ATOMIC_U64 held;  /* bytes of blocks not yet freed; may start a little below 0 */
};
