// SPDX-License-Identifier: Apache-2.0
// Work that the last block of a launch does for all, so that it needs no launch of its own.
#pragma once
#include "device.h"

/// Whether this is the last of `blocks` to come here: it can read what the others have written
/// before. Of a whole block; `arrivals` is 0 at first.
DEVICE bool is_last_block(uint32_t *arrivals, uint32_t blocks) {
  SHARED bool is_last;
  sync_block();
  if (thread_index() == 0) is_last = add_in_order(arrivals, 1) + 1 == blocks;
  sync_block();
  return is_last;
}
