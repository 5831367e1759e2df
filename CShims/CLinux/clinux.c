// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

void clinux_set_thread_name(const char *name) { pthread_setname_np(pthread_self(), name); }

int clinux_set_thread_cpus(const uint64_t *bits, size_t words) {
  return sched_setaffinity(0, words * sizeof *bits, (const cpu_set_t *)bits) == 0 ? 0 : errno;
}

int clinux_get_thread_cpus(uint64_t *bits, size_t words) {
  memset(bits, 0, words * sizeof *bits);
  return sched_getaffinity(0, words * sizeof *bits, (cpu_set_t *)bits) == 0 ? 0 : errno;
}
