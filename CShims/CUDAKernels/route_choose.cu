// SPDX-License-Identifier: Apache-2.0
// Scores of few rows (`route.cu`) and, by the last block that has some, the choice of experts by
// them (`choose.cu`): saves a launch and the border behind it.
#include "last_block.h"

namespace {

/// Of up to 32 rows, a warp for each by turns.
template <int per_lane> DEVICE void choose_behind_scores(const cu_route &op) {
  if (!is_last_block(op.arrivals, op.blocks)) return;
  choose_::choose<cu_threads, per_lane>(op, 0, 1);
  if (thread_index() == 0) *op.arrivals = 0;
}

}  // namespace

// Grid: tiles of experts, tiles of rows.
#define ROUTE_CHOOSE(experts)                                           \
  EARLY_KERNEL(route_1_choose_##experts, cu_route, cu_threads) {        \
    route_::score<1, 1, 8>(op);                                         \
    choose_behind_scores<experts / 32>(op);                             \
  }                                                                     \
  EARLY_KERNEL(route_4_choose_##experts, cu_route, cu_threads) {        \
    route_::score<4, 4, 2>(op);                                         \
    choose_behind_scores<experts / 32>(op);                             \
  }
ROUTE_CHOOSE(64)
ROUTE_CHOOSE(256)
