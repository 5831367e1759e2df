/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts a program's allocations and what it holds of them:
 * LD_PRELOAD=allocations.so BENCH_ALLOCATIONS=FILE program. The counts are in FILE, shared, so that
 * another process can read them while the program runs.
 */
#define _GNU_SOURCE
#include "allocations.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* glibc's own names of what is replaced here. */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static struct allocation_counts unmapped;
static struct allocation_counts *counts = &unmapped;

__attribute__((constructor)) static void map_counts(void) {
  const char *path = getenv(ALLOCATIONS_VARIABLE);
  if (path == NULL) return;
  int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0 || ftruncate(file, sizeof *counts) != 0) abort();
  void *memory = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) abort();
  close(file);
  counts = memory;
}

static void note(size_t size) {
  atomic_fetch_add_explicit(&counts->count, 1, memory_order_relaxed);
  atomic_fetch_add_explicit(&counts->bytes, size, memory_order_relaxed);
}

static void *hold(void *memory) {
  atomic_fetch_add_explicit(&counts->held, malloc_usable_size(memory), memory_order_relaxed);
  return memory;
}

static void release(size_t size) {
  atomic_fetch_sub_explicit(&counts->held, size, memory_order_relaxed);
}

void *malloc(size_t size) {
  note(size);
  return hold(__libc_malloc(size));
}

void *calloc(size_t count, size_t size) {
  note(count * size);
  return hold(__libc_calloc(count, size));
}

void *realloc(void *memory, size_t size) {
  note(size);
  const size_t before = malloc_usable_size(memory);
  void *moved = __libc_realloc(memory, size);
  /* Without room, the old block stays as it was. */
  if (moved == NULL && size > 0) return NULL;
  release(before);
  return hold(moved);
}

void free(void *memory) {
  release(malloc_usable_size(memory));
  __libc_free(memory);
}

void *memalign(size_t alignment, size_t size) {
  note(size);
  return hold(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **memory, size_t alignment, size_t size) {
  *memory = memalign(alignment, size);
  return *memory == NULL ? ENOMEM : 0;
}
