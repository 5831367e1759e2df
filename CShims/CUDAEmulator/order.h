// SPDX-License-Identifier: Apache-2.0
// In which order lanes of a warp, warps of a block and blocks of a grid run, which a GPU promises
// nothing of. Each runs until it waits: so of two between which a barrier is missing, the one that
// comes first is as far ahead as can be, and one of two orders shows it.
#pragma once
#include "device_emulation.h"

#include <vector>

EMULATION {

/// Which lane comes when.
struct LaneOrder { uint8_t lane_at[32], place_of[32]; };

/// The order of a warp's lanes until they next come to something together.
const LaneOrder *next_lane_order();

/// Whether it is another one each time; whether it is any but the fast one, forward.
extern bool is_shuffled, is_searching;

/// What a word that nobody has written holds, byte for byte: not a number.
extern int unwritten;

/// Of `count`, which comes when.
class Sequence {
public:
  explicit Sequence(int count);
  int operator[](int index) const {
    if (is_shuffled) return shuffled[(size_t)index];
    return is_backward ? count - 1 - index : index;
  }

private:
  int count;
  bool is_backward;
  std::vector<int> shuffled;
};

/// Reads SILICA_EMULATED_ORDER, once. False if it is no order.
bool has_order();

}  // namespace emulation
