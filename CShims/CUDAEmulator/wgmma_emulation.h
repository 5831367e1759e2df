// SPDX-License-Identifier: Apache-2.0
// The words of `CUDAKernels/wgmma.h` for a processor. Copies and products are done when somebody
// waits for them, and not before: until then a copy's place is not a number, and a product's
// operands are read where they are then.
#pragma once
#include "device_emulation.h"

constexpr bool has_wgmma = true;

#define ALONE_KERNEL KERNEL

namespace emulation {

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
/// The place in shared memory is read by a product: whoever copied to it must have published that.
void read_by_product(const char *place);

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

/// Where 16 bytes of a token are, `number` times 16 behind its first, by what a descriptor says:
/// its place, the distances of the next 16 bytes and of the next eight tokens, each in 16 bytes,
/// and no swizzle.
DEVICE const char *part_of_matrix(uint64_t matrix, int token, int number) {
  if (matrix >> 46) emulation::fail("the layout of a matrix is not emulated");
  const uint32_t place = (matrix & 0x3fff) * 16 + (matrix >> 16 & 0x3fff) * 16 * (uint32_t)number
    + (matrix >> 32 & 0x3fff) * 16 * (uint32_t)(token / 8) + (uint32_t)(token % 8 * 16);
  const char *found = emulation::dynamic_shared + place;
  emulation::read_by_product(found);
  return found;
}

/// e4m3: no infinity, and a NaN where all other bits are set.
DEVICE float float_of_e4m3(int8_t code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  if (exponent == 15 && mantissa == 7) return float_of(0x7fc00000u);
  const float magnitude = exponent == 0 ? ldexpf((float)mantissa, -9)
                                        : ldexpf((float)(8 + mantissa), exponent - 10);
  return code < 0 ? -magnitude : magnitude;
}

/// What some bytes of an operand stand for: codes s8 too are floats exactly, and so are their sums.
/// Returns how many elements they are.
DEVICE int decode(emulation::GroupProduct::Type type, const void *bytes, int count, float *values) {
  if (type == emulation::GroupProduct::Type::bf16) {
    const uint16_t *halves = (const uint16_t *)bytes;
    for (int i = 0; i < count / 2; i++) values[i] = float_of_half(halves[i]);
    return count / 2;
  }
  const int8_t *codes = (const int8_t *)bytes;
  const bool are_integers = type == emulation::GroupProduct::Type::s8;
  for (int i = 0; i < count; i++) {
    values[i] = are_integers ? (float)codes[i] : float_of_e4m3(codes[i]);
  }
  return count;
}

/// Each warp does its 16 rows: `wgmma` takes nothing from other warps' registers. Sums are in order
/// of k.
DEVICE void multiply_now(const emulation::GroupProduct &product) {
  const int self = thread_index(), lane = self % 32, g = lane / 4, t = lane % 4;
  const int turn = emulation::turns[self]++ & 1;
  emulation::Warp &warp = emulation::warps[self / 32];
  for (int i = 0; i < 4; i++) {
    float values[4];
    const int count = decode(product.type, product.a + i, 4, values);
    memcpy(&warp.a[turn][g + i % 2 * 8][t * count + i / 2 * 4 * count], values, count * 4);
  }
  emulation::wait_for_warp();
  for (int i = 0; i < product.count; i++) {
    const float *row = warp.a[turn][g + i % 4 / 2 * 8];
    float column[32], sum = 0;
    int inner = 0;
    for (int number = 0; number < 2; number++) {
      const char *part = part_of_matrix(product.b, i / 4 * 8 + t * 2 + i % 2, number);
      inner += decode(product.type, part, 16, column + inner);
    }
    if (product.adds) sum = product.c ? product.c[i] : (float)product.integers[i];
    for (int k = 0; k < inner; k++) sum += row[k] * column[k];
    if (product.c) product.c[i] = sum;
    else product.integers[i] = (int32_t)sum;
  }
}
template <int count, typename Sum, int sums> DEVICE void wait_for_products(Sum (&)[sums]) {
  emulation::GroupProduct product;
  while (emulation::take_product(count, &product)) multiply_now(product);
}
