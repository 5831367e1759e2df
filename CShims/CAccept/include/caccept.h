// SPDX-License-Identifier: Apache-2.0
// The `accept4` of this process, in the place of glibc's: gRPC C-core 1.51 has no limit for
// connections, and its listener stops for good at an error such as EMFILE. This one closes what is
// over a limit, and what its client has closed already; keeps a descriptor in reserve to close
// connections with when there is none left; and answers only what the listener survives.
//
// Shared libraries find it because the dynamic linker looks into the program first.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct caccept_counts {
  uint64_t over_limit;     // connections closed because as many as may be were open
  uint64_t no_descriptor;  // connections closed because the process had no descriptor left
} caccept_counts;

/// Whether shared libraries call this `accept4`.
int caccept_is_used(void);

/// Lets at most `connections` be open at once, in the whole process, from now on; what is open
/// does not count. 0 lifts the limit. Returns 0, or an errno.
int caccept_set_limit(uint32_t connections);

/// Of the whole process, since its start.
caccept_counts caccept_read_counts(void);
