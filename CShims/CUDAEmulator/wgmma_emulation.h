// SPDX-License-Identifier: Apache-2.0
// The words of `CUDAKernels/wgmma.h` for a processor. Copies and products are done when somebody
// waits for them, and not before: until then a copy's place is not a number, and a product's
// operands are read where they are then.
#pragma once
#include "device_emulation.h"

constexpr bool has_wgmma = true;

#define ALONE_KERNEL KERNEL

EMULATION {

/// 64 × 16 times 16 × 64, or of codes 64 × 32 times 32 × 64 or 32 × 32, of one thread; see
/// `multiply_group`.
struct GroupProduct {
  enum class Type { bf16, s8, e4m3 };
  Type type;
  /// One of them: sums of floats, or of integers; of each thread so many.
  float *c;
  int32_t *integers;
  int count;
  const uint32_t *a;
  uint64_t b;
  bool adds;
};

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
/// The place in shared memory is read by a product: whoever copied to it must have published that.
void read_by_product(const char *place);
/// Each lane gives its product; the last to come does it for the warp's 16 rows: `wgmma` takes
/// nothing from other warps' registers. Sums are in order of k.
void multiply_now(const GroupProduct &product);

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

DEVICE void publish_copies() { emulation::copies[emulation::thread].publish(); }

template <typename Sum, int count> DEVICE void begin_products(Sum (&)[count]) {}
DEVICE void multiply_group(float (&c)[32], const uint32_t (&a)[4], uint64_t b, bool adds) {
  emulation::queue({emulation::GroupProduct::Type::bf16, c, nullptr, 32, a, b, adds});
}
DEVICE void multiply_group(int32_t (&c)[32], const uint32_t (&a)[4], uint64_t b, bool adds) {
  emulation::queue({emulation::GroupProduct::Type::s8, nullptr, c, 32, a, b, adds});
}
template <int count>
DEVICE void multiply_group_e4m3(float (&c)[count], const uint32_t (&a)[4], uint64_t b, bool adds) {
  static_assert(count == 16 || count == 32, "");
  emulation::queue({emulation::GroupProduct::Type::e4m3, c, nullptr, count, a, b, adds});
}
DEVICE void end_products() { emulation::end_group(); }
DEVICE void compute_now(uint32_t (&)[4]) {}

template <int count, typename Sum, int sums> DEVICE void wait_for_products(Sum (&)[sums]) {
  emulation::GroupProduct product;
  while (emulation::take_product(count, &product)) emulation::multiply_now(product);
}
