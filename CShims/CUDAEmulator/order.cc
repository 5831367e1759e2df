// SPDX-License-Identifier: Apache-2.0
#include "order.h"

#include <algorithm>

namespace emulation {

bool is_shuffled, is_searching;
int unwritten = 0xff;

namespace {

/// So many shuffles of lanes are drawn once, and one of them is taken each time.
constexpr uint32_t shuffles = 256;

bool is_backward;
/// One, or all shuffles.
LaneOrder lane_orders[shuffles];
uint64_t state;

/// splitmix64.
uint32_t draw(uint32_t below) {
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return (uint32_t)(((z ^ z >> 31) >> 32) * below >> 32);
}

template <class Number> void shuffle(Number *numbers, int count) {
  for (int i = count - 1; i > 0; i--) std::swap(numbers[i], numbers[draw((uint32_t)i + 1)]);
}

void make_lane_orders() {
  for (LaneOrder &order : lane_orders) {
    for (int i = 0; i < 32; i++) order.lane_at[i] = (uint8_t)(is_backward ? 31 - i : i);
    if (is_shuffled) shuffle(order.lane_at, 32);
    for (int i = 0; i < 32; i++) order.place_of[order.lane_at[i]] = (uint8_t)i;
  }
}

bool read_order() {
  const char *text = getenv("SILICA_EMULATED_ORDER");
  const char shuffled[] = "shuffled:";
  if (!text || !*text) text = "forward";
  is_backward = strcmp(text, "backward") == 0;
  is_shuffled = strncmp(text, shuffled, sizeof shuffled - 1) == 0;
  if (is_shuffled) {
    char *end = nullptr;
    state = strtoull(text + sizeof shuffled - 1, &end, 10);
    if (end == text + sizeof shuffled - 1 || *end) return false;
  }
  is_searching = is_backward || is_shuffled;
  // A large number and not NaN where it is no float, and no -1 where it is an integer.
  if (is_backward) unwritten = 0x7f;
  make_lane_orders();
  return is_shuffled || is_backward || strcmp(text, "forward") == 0;
}

}  // namespace

bool has_order() {
  static const bool has = read_order();
  return has;
}

const LaneOrder *next_lane_order() {
  return is_shuffled ? &lane_orders[draw(shuffles)] : &lane_orders[0];
}

Sequence::Sequence(int count) : count(count), is_backward(emulation::is_backward) {
  if (!is_shuffled) return;
  shuffled.resize((size_t)count);
  for (int i = 0; i < count; i++) shuffled[(size_t)i] = i;
  shuffle(shuffled.data(), count);
}

}  // namespace emulation
