// SPDX-License-Identifier: Apache-2.0
// The words of `CUDAKernels/wgmma.h` for a processor. Copies and products are done when somebody
// waits for them, and not before: until then a copy's place is not a number, and a product's
// operands are read where they are then.
#pragma once
#include "device_emulation.h"

constexpr bool has_wgmma = true;

#define ALONE_KERNEL KERNEL

namespace emulation {

/// 64 × 16 times 16 × 64, or of codes 64 × 32 times 32 × 64, of one thread; see `multiply_group`.
struct GroupProduct {
  /// One of them: sums of floats, or of codes.
  float *c;
  int32_t *integers;
  const uint32_t *a;
  uint64_t b;
  bool adds;
};

/// Ends the run of the block with a message.
[[noreturn]] void fail(const char *what);
/// The place of something in the block's shared memory.
uint32_t shared_offset(const void *place);

void init(uint64_t *barrier, int arrivals);
void arrive(uint64_t *barrier, int bytes);
void wait(uint64_t *barrier, uint32_t parity);
void copy(void *to, const void *from, int bytes, uint64_t *barrier);
void wait_for_first(int threads);

void queue(const GroupProduct &product);
void end_group();
/// The next product of this thread that a wait for all groups but the last `count` is for.
bool take_product(int count, GroupProduct *product);

}  // namespace emulation

DEVICE uint32_t shared_address(const void *p) { return emulation::shared_offset(p); }
DEVICE void barrier_init(uint64_t *barrier, int arrivals) { emulation::init(barrier, arrivals); }
DEVICE void fence_barriers() {}
DEVICE void barrier_arrive(uint64_t *barrier) { emulation::arrive(barrier, 0); }
DEVICE void barrier_arrive(uint64_t *barrier, int bytes) { emulation::arrive(barrier, bytes); }
DEVICE void barrier_wait(uint64_t *barrier, uint32_t parity) { emulation::wait(barrier, parity); }
DEVICE void copy_bulk(void *to, const void *from, int bytes, uint64_t *barrier) {
  emulation::copy(to, from, bytes, barrier);
}
template <int threads> DEVICE void sync_first() { emulation::wait_for_first(threads); }
template <int count> DEVICE void take_registers() {}
template <int count> DEVICE void leave_registers() {}

template <typename Sum> DEVICE void begin_products(Sum (&)[32]) {}
DEVICE void multiply_group(float (&c)[32], const uint32_t (&a)[4], uint64_t b, bool adds) {
  emulation::queue({c, nullptr, a, b, adds});
}
DEVICE void multiply_group(int32_t (&c)[32], const uint32_t (&a)[4], uint64_t b, bool adds) {
  emulation::queue({nullptr, c, a, b, adds});
}
DEVICE void end_products() { emulation::end_group(); }
DEVICE void compute_now(uint32_t (&)[4]) {}

/// Where 16 bytes of a token are, `number` times 16 behind its first, by what a descriptor says:
/// its place, the distances of the next 16 bytes and of the next eight tokens, each in 16 bytes,
/// and no swizzle.
DEVICE const char *part_of_matrix(uint64_t matrix, int token, int number) {
  if (matrix >> 46) emulation::fail("the layout of a matrix is not emulated");
  const uint32_t place = (matrix & 0x3fff) * 16 + (matrix >> 16 & 0x3fff) * 16 * (uint32_t)number
    + (matrix >> 32 & 0x3fff) * 16 * (uint32_t)(token / 8) + (uint32_t)(token % 8 * 16);
  return emulation::dynamic_shared + place;
}
DEVICE float element_of_matrix(uint64_t matrix, int token, int k) {
  uint16_t half;
  memcpy(&half, part_of_matrix(matrix, token, k / 8) + k % 8 * 2, 2);
  return float_of_half(half);
}
DEVICE int32_t code_of_matrix(uint64_t matrix, int token, int k) {
  return (int8_t)part_of_matrix(matrix, token, k / 16)[k % 16];
}

/// Each warp does its 16 rows: `wgmma` takes nothing from other warps' registers.
DEVICE void multiply_now(const emulation::GroupProduct &product) {
  const int self = thread_index(), lane = self % 32, g = lane / 4, t = lane % 4 * 2;
  const int turn = emulation::turns[self]++ & 1;
  emulation::Warp &warp = emulation::warps[self / 32];
  uint32_t a[4];
  memcpy(a, product.a, sizeof a);
  if (product.integers) give_codes(warp.codes_a[turn], a);
  for (int i = 0; i < 4; i++) {
    float *pair = &warp.a[turn][g + i % 2 * 8][t + i / 2 * 8];
    pair[0] = float_of_half(a[i] & 0xffff), pair[1] = float_of_half(a[i] >> 16);
  }
  emulation::wait_for_warp();
  for (int i = 0; i < 32; i++) {
    const int row = g + i % 4 / 2 * 8, token = i / 4 * 8 + t + i % 2;
    if (product.integers) {
      int32_t sum = product.adds ? product.integers[i] : 0;
      for (int k = 0; k < 32; k++) {
        sum += warp.codes_a[turn][row][k] * code_of_matrix(product.b, token, k);
      }
      product.integers[i] = sum;
      continue;
    }
    float sum = product.adds ? product.c[i] : 0.f;
    for (int k = 0; k < 16; k++) {
      sum += warp.a[turn][row][k] * element_of_matrix(product.b, token, k);
    }
    product.c[i] = sum;
  }
}
template <int count, typename Sum> DEVICE void wait_for_products(Sum (&)[32]) {
  emulation::GroupProduct product;
  while (emulation::take_product(count, &product)) multiply_now(product);
}
