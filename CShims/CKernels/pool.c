// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "kernels.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// How often a waiting thread looks before it sleeps: some 20 µs, longer than most phases differ.
enum { SPINS = 600, CACHE_LINE = 64 };

typedef struct {
  _Alignas(CACHE_LINE) ck_worker worker;
  pthread_t thread;
  int started;
} member;

struct ck_pool {
  // Each on a cache line of its own: all of them are written by all workers.
  _Alignas(CACHE_LINE) _Atomic uint32_t generation;
  _Alignas(CACHE_LINE) _Atomic int arrived;
  _Alignas(CACHE_LINE) _Atomic int sleeping;
  _Alignas(CACHE_LINE) _Atomic int64_t next_unit;
  _Alignas(CACHE_LINE) int threads;
  int stopping;
  const ck_phase *phases;
  int64_t phase_count;
  const ck_step *step;
  member *members;
};

static inline void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void sleep_until_changed(ck_pool *pool, uint32_t generation) {
  atomic_fetch_add(&pool->sleeping, 1);
  while (atomic_load(&pool->generation) == generation)
    syscall(SYS_futex, &pool->generation, FUTEX_WAIT_PRIVATE, generation, NULL, NULL, 0);
  atomic_fetch_sub(&pool->sleeping, 1);
}

/// Waits until all workers are here; the last one also resets the units for the next phase.
static void barrier(ck_pool *pool) {
  uint32_t generation = atomic_load_explicit(&pool->generation, memory_order_relaxed);
  if (atomic_fetch_add_explicit(&pool->arrived, 1, memory_order_acq_rel) == pool->threads - 1) {
    atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->next_unit, 0, memory_order_relaxed);
    // Sequentially consistent, as in `sleep_until_changed`: a sleeper is seen, or sees the change.
    atomic_fetch_add(&pool->generation, 1);
    if (atomic_load(&pool->sleeping) > 0)
      syscall(SYS_futex, &pool->generation, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
    return;
  }
  for (int spin = 0; spin < SPINS; spin++) {
    if (atomic_load_explicit(&pool->generation, memory_order_acquire) != generation) return;
    relax();
  }
  sleep_until_changed(pool, generation);
}

static void run_phases(ck_pool *pool, ck_worker *worker) {
  // Copies: after the last barrier worker 0 may already be filling in the next run.
  const ck_phase *phases = pool->phases;
  const int64_t count = pool->phase_count;
  for (int64_t i = 0; i < count; i++) {
    phases[i].kernel(phases[i].arguments, pool->step, worker);
    barrier(pool);
  }
}

static void *worker_main(void *argument) {
  ck_worker *worker = argument;
  for (;;) {
    barrier(worker->pool);
    if (worker->pool->stopping) return NULL;
    run_phases(worker->pool, worker);
  }
}

static int start(member *member, const int *cpus, int cpu_count) {
  int code = pthread_create(&member->thread, NULL, worker_main, &member->worker);
  if (code != 0) return code;
  member->started = 1;
  char name[16] = "cpu-worker-";
  int index = member->worker.index % 1000;
  size_t end = strlen(name);
  for (int divisor = 100; divisor > 0; divisor /= 10)
    if (index >= divisor || divisor == 1) name[end++] = (char)('0' + index / divisor % 10);
  pthread_setname_np(member->thread, name);
  if (cpu_count > 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpus[member->worker.index % cpu_count], &set);
    // What the system does not allow is not forced: the worker then runs where it may.
    pthread_setaffinity_np(member->thread, sizeof set, &set);
  }
  return 0;
}

ck_pool *ck_pool_create(int threads, const int *cpus, int cpu_count) {
  ck_pool *pool = aligned_alloc(CACHE_LINE, sizeof *pool);
  if (pool == NULL) return NULL;
  memset(pool, 0, sizeof *pool);
  pool->threads = threads;
  pool->members = aligned_alloc(CACHE_LINE, (size_t)threads * sizeof(member));
  if (pool->members == NULL) {
    free(pool);
    return NULL;
  }
  memset(pool->members, 0, (size_t)threads * sizeof(member));
  for (int i = 0; i < threads; i++) {
    pool->members[i].worker.pool = pool;
    pool->members[i].worker.index = i;
  }
  for (int i = 1; i < threads; i++) {
    if (start(&pool->members[i], cpus, cpu_count) == 0) continue;
    pool->threads = i;  // the workers that are there can still meet, and stop
    ck_pool_destroy(pool);
    return NULL;
  }
  return pool;
}

int ck_pool_reserve(ck_pool *pool, int64_t floats) {
  size_t bytes = ((size_t)floats * sizeof(float) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
  for (int i = 0; i < pool->threads; i++) {
    free(pool->members[i].worker.scratch);
    pool->members[i].worker.scratch = bytes == 0 ? NULL : aligned_alloc(CACHE_LINE, bytes);
    if (bytes != 0 && pool->members[i].worker.scratch == NULL) return ENOMEM;
  }
  return 0;
}

void ck_pool_run(ck_pool *pool, const ck_phase *phases, int64_t count, const ck_step *step) {
  pool->phases = phases;
  pool->phase_count = count;
  pool->step = step;
  barrier(pool);
  run_phases(pool, &pool->members[0].worker);
}

void ck_pool_destroy(ck_pool *pool) {
  pool->stopping = 1;
  barrier(pool);
  for (int i = 1; i < pool->threads; i++) pthread_join(pool->members[i].thread, NULL);
  for (int i = 0; i < pool->threads; i++) free(pool->members[i].worker.scratch);
  free(pool->members);
  free(pool);
}

int ck_pool_threads(const ck_pool *pool) { return pool->threads; }

int64_t ck_claim(ck_worker *worker) {
  return atomic_fetch_add_explicit(&worker->pool->next_unit, 1, memory_order_relaxed);
}
