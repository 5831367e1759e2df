// SPDX-License-Identifier: Apache-2.0
// Words of Hopper's GPUs (sm_90a) beside those of `device.h`: bulk copies that a barrier in shared
// memory counts, and `wgmma`, by which the four warps of a warpgroup multiply 64 rows with tokens
// that lie in shared memory. Where `has_wgmma` is false, no kernel may come to them.
#pragma once
#include "device.h"

#if defined(__CUDACC__)

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
constexpr bool has_wgmma = true;
#else
constexpr bool has_wgmma = false;
#endif

/// A kernel of which a multiprocessor has one block: its warpgroups share out the registers.
#define ALONE_KERNEL(name, Arguments, threads)                             \
  static __device__ __forceinline__ void name##_body(const Arguments &op); \
  extern "C" __global__ void __launch_bounds__(threads, 1)                 \
  name(const __grid_constant__ Arguments op) {                             \
    let_next_begin();                                                      \
    wait_for_previous();                                                   \
    name##_body(op);                                                       \
  }                                                                        \
  static __device__ __forceinline__ void name##_body(const Arguments &op)

DEVICE uint32_t shared_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

/// A barrier in shared memory: its phase ends when `arrivals` have come, and as many bytes as they
/// said.
DEVICE void barrier_init(uint64_t *barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;"
               :: "r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
/// Makes barriers that were initialised visible to copies.
DEVICE void fence_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
DEVICE void barrier_arrive(uint64_t *barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];"
               :: "r"(shared_address(barrier)) : "memory");
}
DEVICE void barrier_arrive(uint64_t *barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
               :: "r"(shared_address(barrier)), "r"(bytes) : "memory");
}
/// Until the phase of that parity (0 for the first) is over.
DEVICE void barrier_wait(uint64_t *barrier, uint32_t parity) {
  uint32_t is_over = 0;
  while (!is_over) {
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; "
                 "selp.u32 %0, 1, 0, p; }"
                 : "=r"(is_over) : "r"(shared_address(barrier)), "r"(parity) : "memory");
  }
}
/// Copies multiples of 16 bytes to shared memory, later; the barrier counts them.
DEVICE void copy_bulk(void *to, const void *from, int bytes, uint64_t *barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0], [%1], %2, [%3];"
               :: "r"(shared_address(to)), "l"(from), "r"(bytes), "r"(shared_address(barrier))
               : "memory");
}

/// What this thread has copied to shared memory by `begin_copy` (`wait_for_copies` is behind it)
/// can be read by products behind a barrier: they read past what threads see.
DEVICE void publish_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

/// A barrier for the first `threads` of a block.
template <int threads> DEVICE void sync_first() {
  asm volatile("bar.sync 1, %0;" :: "n"(threads) : "memory");
}

/// Registers of each thread of a warpgroup from here on.
template <int count> DEVICE void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(count));
}
template <int count> DEVICE void leave_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(count));
}

#define FLOATS8(c, i)                                                                         \
  "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), \
    "+f"(c[i + 6]), "+f"(c[i + 7])
#define FLOATS16(c) FLOATS8(c, 0), FLOATS8(c, 8)
#define FLOATS32(c) FLOATS16(c), FLOATS8(c, 16), FLOATS8(c, 24)

#define INTEGERS8(c, i)                                                                       \
  "+r"(c[i]), "+r"(c[i + 1]), "+r"(c[i + 2]), "+r"(c[i + 3]), "+r"(c[i + 4]), "+r"(c[i + 5]), \
    "+r"(c[i + 6]), "+r"(c[i + 7])
#define INTEGERS32(c) INTEGERS8(c, 0), INTEGERS8(c, 8), INTEGERS8(c, 16), INTEGERS8(c, 24)

/// Before products: they see what registers and shared memory hold now.
DEVICE void begin_products(float (&c)[32]) {
  asm volatile("wgmma.fence.sync.aligned;" : FLOATS32(c) :: "memory");
}
DEVICE void begin_products(float (&c)[16]) {
  asm volatile("wgmma.fence.sync.aligned;" : FLOATS16(c) :: "memory");
}
DEVICE void begin_products(int32_t (&c)[32]) {
  asm volatile("wgmma.fence.sync.aligned;" : INTEGERS32(c) :: "memory");
}
/// `c = a · b`, plus `c` if `adds`: 64×16 times 16×64, later. Warp w of the warpgroup has rows 16w
/// to 16w + 15; `a` and, of columns 8j to 8j + 7, `c[4j]` to `c[4j + 3]` are as in `multiply_tile`.
DEVICE void multiply_group(float (&c)[32], const uint32_t (&a)[4], uint64_t b, bool adds) {
  asm volatile(
    "{ .reg .pred p; setp.ne.b32 p, %37, 0; "
    "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
    "{%32, %33, %34, %35}, %36, p, 1, 1, 0; }"
    : FLOATS32(c)
    : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)adds));
}
/// The same of codes of 8 bits: 64×32 times 32×64; `a` and `c` as in their `multiply_tile`.
DEVICE void multiply_group(int32_t (&c)[32], const uint32_t (&a)[4], uint64_t b, bool adds) {
  asm volatile(
    "{ .reg .pred p; setp.ne.b32 p, %37, 0; "
    "wgmma.mma_async.sync.aligned.m64n64k32.s32.s8.s8 {"
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
    "{%32, %33, %34, %35}, %36, p; }"
    : INTEGERS32(c)
    : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)adds));
}
/// The same of codes e4m3, into floats.
DEVICE void multiply_group_e4m3(float (&c)[32], const uint32_t (&a)[4], uint64_t b, bool adds) {
  asm volatile(
    "{ .reg .pred p; setp.ne.b32 p, %37, 0; "
    "wgmma.mma_async.sync.aligned.m64n64k32.f32.e4m3.e4m3 {"
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
    "{%32, %33, %34, %35}, %36, p, 1, 1; }"
    : FLOATS32(c)
    : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)adds));
}
/// With 32 columns in place of 64.
DEVICE void multiply_group_e4m3(float (&c)[16], const uint32_t (&a)[4], uint64_t b, bool adds) {
  asm volatile(
    "{ .reg .pred p; setp.ne.b32 p, %21, 0; "
    "wgmma.mma_async.sync.aligned.m64n32k32.f32.e4m3.e4m3 {"
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
    "{%16, %17, %18, %19}, %20, p, 1, 1; }"
    : FLOATS16(c)
    : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)adds));
}
DEVICE void end_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/// Until all that `end_products` ended is done but the last `count`; `c` can be read then.
template <int count> DEVICE void wait_for_products(float (&c)[32]) {
  asm volatile("wgmma.wait_group.sync.aligned %32;" : FLOATS32(c) : "n"(count) : "memory");
}
template <int count> DEVICE void wait_for_products(float (&c)[16]) {
  asm volatile("wgmma.wait_group.sync.aligned %16;" : FLOATS16(c) : "n"(count) : "memory");
}
template <int count> DEVICE void wait_for_products(int32_t (&c)[32]) {
  asm volatile("wgmma.wait_group.sync.aligned %32;" : INTEGERS32(c) : "n"(count) : "memory");
}
/// What `values` are is computed here and not later, while products are under way.
DEVICE void compute_now(uint32_t (&values)[4]) {
  asm volatile("" : "+r"(values[0]), "+r"(values[1]), "+r"(values[2]), "+r"(values[3]));
}

#else
#include "../CUDAEmulator/wgmma_emulation.h"
#endif

/// The place of a matrix in shared memory as `multiply_group` takes it. Eight neighbouring columns
/// of k (16 of codes) of eight tokens are 128 bytes, 16 a token; the next of them are `of_columns`
/// bytes on, the next eight tokens `of_tokens`.
DEVICE uint64_t matrix_at(const void *place, int of_columns, int of_tokens) {
  const uint32_t low = shared_address(place) >> 4 | (uint32_t)of_columns >> 4 << 16;
  return low | (uint64_t)(of_tokens >> 4) << 32;
}
