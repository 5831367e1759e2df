// SPDX-License-Identifier: Apache-2.0
// What a step and a draw begin with, brought from the host's memory (`ring.h`), and an end.
//   fetch_step   a step: `cu_step` to where all kernels look for it, its arrays behind each other
//   fetch_draws  how rows are drawn, and zeros where drawing begins
//   tell_drawn   the end of a draw whose last kernel cannot say so: with adjustments or reports
// One block each: few words, and nothing to agree on with others. Not yet run on a GPU.
#include "ring.h"

static_assert(sizeof(cu_step) % sizeof(Words4) == 0, "a step is whole words");

// Grid: 1. Kernels behind it read a step before they wait, so they begin when it is done.
FIRST_KERNEL(fetch_step, cu_fetch, cu_threads) {
  constexpr int own = sizeof(cu_step) / sizeof(Words4);
  fetch(op.slot, own + op.array_words, [&](int index) {
    return index < own ? (Words4 *)op.step + index : (Words4 *)op.arrays + (index - own);
  });
}

// Grid: 1.
KERNEL(fetch_draws, cu_fetch_draws, cu_threads) {
  for (int row = thread_index(); row < op.rows; row += cu_threads) op.keys[row] = 0;
  if (thread_index() == 0) *op.arrivals = 0;
  fetch(op.slot, op.draw_words, [&](int index) { return (Words4 *)op.draws + index; });
}

// Grid: 1.
KERNEL(tell_drawn, cu_drawn, cu_threads) { tell(op); }
