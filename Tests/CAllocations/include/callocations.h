// SPDX-License-Identifier: Apache-2.0
// Counts allocations of the test program: it defines malloc and its kin itself, which all its
// libraries then use.
#pragma once
#include <stdint.h>

/// How often the calling thread has asked for memory so far.
int64_t callocations_of_thread(void);
