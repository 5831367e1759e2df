// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

void clinux_set_thread_name(const char *name) { pthread_setname_np(pthread_self(), name); }

int clinux_set_thread_cpus(const uint64_t *bits, size_t words) {
  return sched_setaffinity(0, words * sizeof *bits, (const cpu_set_t *)bits) == 0 ? 0 : errno;
}

void clinux_trim_memory(void) { malloc_trim(0); }

int clinux_get_thread_cpus(uint64_t *bits, size_t words) {
  memset(bits, 0, words * sizeof *bits);
  return sched_getaffinity(0, words * sizeof *bits, (cpu_set_t *)bits) == 0 ? 0 : errno;
}

// `struct sched_attr`, first version: older C libraries do not have it.
struct thread_scheduling {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime;
  uint64_t deadline;
  uint64_t period;
};

int clinux_set_thread_slice(uint64_t nanoseconds) {
  struct thread_scheduling thread = {0};
  if (syscall(SYS_sched_getattr, 0, &thread, sizeof thread, 0) != 0) return errno;
  thread.runtime = nanoseconds;
  return syscall(SYS_sched_setattr, 0, &thread, 0) == 0 ? 0 : errno;
}
