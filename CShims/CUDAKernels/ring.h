// SPDX-License-Identifier: Apache-2.0
// The ends of a step: what it is comes from memory of the host that kernels read and write where it
// lies ("mapped"), and what was drawn goes there. A read of it takes a microsecond or two, so each
// word is read once, by one block, many at a time; then it is the GPU's own.
#pragma once
#include "last_block.h"

/// Words of 16 bytes that a thread has on their way at once: 16 KiB a block, for each microsecond
/// or two.
constexpr int fetched_at_once = 4;

/// Brings `count` words of 16 bytes from mapped memory, word i to `place_of(i)`. Of a whole block
/// of `cu_threads`.
template <class PlaceOf> DEVICE void fetch(const void *mapped, int count, PlaceOf place_of) {
  const Words4 *source = (const Words4 *)mapped;
  for (int first = thread_index(); first < count; first += fetched_at_once * cu_threads) {
    Words4 words[fetched_at_once];
    UNROLL for (int i = 0; i < fetched_at_once; i++) {
      const int index = first + i * cu_threads;
      if (index < count) words[i] = load_mapped(source + index);
    }
    UNROLL for (int i = 0; i < fetched_at_once; i++) {
      const int index = first + i * cu_threads;
      if (index < count) *place_of(index) = words[i];
    }
  }
}

/// What a key says to the host: a column, or why there is none.
DEVICE int32_t answer_of(uint64_t key) {
  if (!~key) return cu_not_finite;
  const bool is_masked = float_of_ordered((uint32_t)(key >> 32)) == -INFINITE;
  return is_masked ? cu_all_masked : (int32_t)(0xffffffffu - (uint32_t)key);
}

/// Gives the host what was drawn in all rows, and then says so. Of a whole block of `cu_threads`.
DEVICE void tell(const cu_drawn &drawn) {
  for (int row = thread_index(); row < drawn.rows; row += cu_threads) {
    drawn.columns[row] = answer_of(drawn.keys[row]);
  }
  constexpr int words = sizeof(cu_report) / 8;
  const uint64_t *from = (const uint64_t *)drawn.reports;
  uint64_t *to = (uint64_t *)drawn.host_reports;
  for (int i = thread_index(); to && i < drawn.rows * words; i += cu_threads) to[i] = from[i];
  sync_block();
  if (thread_index() == 0) set_for_host(drawn.word, drawn.number);
}

/// Ends a launch that draws, and others before it: of all blocks that do, the last to come tells
/// the host. Of a whole block of `cu_threads`.
DEVICE void hand_over(const cu_drawn &drawn) {
  if (drawn.columns && is_last_block(drawn.arrivals, drawn.blocks)) tell(drawn);
}
