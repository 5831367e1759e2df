// SPDX-License-Identifier: Apache-2.0
// The words that kernels are written in: CUDA's by nvcc, or those of the emulation, in which every
// thread of a block is a fiber. No header of CUDA is used.
#pragma once
#include "arguments.h"

#if defined(__CUDACC__)

#if !defined(CU_ONE_LAUNCH)
/// A kernel that begins before those in front of it are done (programmatic dependent launch) and
/// reads nothing that they write until `wait_for_previous`.
#define EARLY_KERNEL(name, Arguments, threads) \
  EARLY_KERNEL_BOUNDED(name, Arguments, __launch_bounds__(threads))
/// The same, with as many registers as leave a multiprocessor `blocks` blocks.
#define EARLY_KERNEL_FOR(name, Arguments, threads, blocks) \
  EARLY_KERNEL_BOUNDED(name, Arguments, __launch_bounds__(threads, blocks))
#define EARLY_KERNEL_BOUNDED(name, Arguments, bounds)                      \
  static __device__ __forceinline__ void name##_body(const Arguments &op); \
  extern "C" __global__ void bounds                                        \
  name(const __grid_constant__ Arguments op) {                             \
    let_next_begin();                                                      \
    name##_body(op);                                                       \
  }                                                                        \
  static __device__ __forceinline__ void name##_body(const Arguments &op)
/// A kernel whose results those behind it read without waiting: launched by `GPU.launchFirst`, so
/// that none of them begins before it is done.
#define FIRST_KERNEL(name, Arguments, threads)                        \
  extern "C" __global__ void __launch_bounds__(threads)               \
  name(const __grid_constant__ Arguments op)
/// A kernel that begins when all in front of it is done.
#define KERNEL(name, Arguments, threads)                                   \
  static __device__ __forceinline__ void name##_work(const Arguments &op); \
  EARLY_KERNEL(name, Arguments, threads) {                                 \
    wait_for_previous();                                                   \
    name##_work(op);                                                       \
  }                                                                        \
  static __device__ __forceinline__ void name##_work(const Arguments &op)
#endif
#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER __device__ __forceinline__
#define DEVICE_CALLED static __device__ __noinline__
#define SHARED __shared__
#define DYNAMIC_SHARED(type, name) extern __shared__ type name[]
/// What vectors of so many numbers have beside them.
#define VECTOR2(name, type)
#define VECTOR4(name, type)
#define UNROLL _Pragma("unroll")
#define PRAGMA(words) _Pragma(#words)
#define UNROLL_BY(times) PRAGMA(unroll (times))

DEVICE int thread_index() { return threadIdx.x; }
DEVICE int block_threads() { return blockDim.x; }
DEVICE void sync_block() { __syncthreads(); }
#if !defined(CU_ONE_LAUNCH)
DEVICE int block_x() { return blockIdx.x; }
DEVICE int block_y() { return blockIdx.y; }
DEVICE int block_z() { return blockIdx.z; }
DEVICE int grid_x() { return gridDim.x; }
/// From now on the next kernel's blocks may take places that are free.
DEVICE void let_next_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}
/// Until the kernels in front are done and what they wrote can be read.
DEVICE void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
#else
/// A kernel all of whose blocks are on the GPU together.
#define TOGETHER_KERNEL(name, Arguments, threads)        \
  extern "C" __global__ void __launch_bounds__(threads)  \
  name(const __grid_constant__ Arguments op)
DEVICE int launched_block() { return blockIdx.x; }
DEVICE int launched_blocks() { return gridDim.x; }
/// What the block has written can be read by who sees the sum.
DEVICE void add_released(uint32_t *sum, uint32_t value) {
  asm volatile("red.release.gpu.global.add.u32 [%0], %1;" :: "l"(sum), "r"(value) : "memory");
}
/// Until what other blocks add to a sum has reached `value`.
DEVICE void wait_until(const uint32_t *sum, uint32_t value) {
  while (true) {
    uint32_t now;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(sum) : "memory");
    if (now >= value) return;
    // All warps of the GPU ask for the same word.
    asm volatile("nanosleep.u32 20;");
  }
}
#endif
DEVICE void sync_warp() { __syncwarp(); }
DEVICE float shuffle_xor(float value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
DEVICE int shuffle_xor(int value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }
/// Of the lane `distance` below; lanes that have none get their own.
DEVICE int shuffle_up(int value, int distance) {
  return __shfl_up_sync(0xffffffffu, value, distance);
}
DEVICE int sum_of_warp(int value) { return __reduce_add_sync(0xffffffffu, value); }
DEVICE uint32_t largest_of_warp(uint32_t value) { return __reduce_max_sync(0xffffffffu, value); }
/// Of each lane a bit: whether it is `true` there.
DEVICE uint32_t vote(bool is_so) { return __ballot_sync(0xffffffffu, is_so); }
DEVICE int count_bits(uint32_t bits) { return __popc(bits); }
/// To what threads of a block share, in any order.
DEVICE void or_shared(uint32_t *place, uint32_t bits) { atomicOr(place, bits); }
DEVICE void add_shared(int32_t *place, int32_t value) { atomicAdd(place, value); }
/// To what other threads add to as well, in shared memory or the GPU's; returns what was there.
DEVICE uint32_t add_together(uint32_t *place, uint32_t value) { return atomicAdd(place, value); }
DEVICE void add_together(uint64_t *place, uint64_t value) {
  atomicAdd((unsigned long long *)place, (unsigned long long)value);
}
/// A sum that no multiplication before it becomes part of, and a product that becomes part of none.
DEVICE float add_apart(float a, float b) { return __fadd_rn(a, b); }
DEVICE float multiply_apart(float a, float b) { return __fmul_rn(a, b); }
DEVICE double add_apart(double a, double b) { return __dadd_rn(a, b); }
DEVICE double multiply_apart(double a, double b) { return __dmul_rn(a, b); }
/// A quotient to nearest.
DEVICE float divide(float a, float b) { return __fdiv_rn(a, b); }
/// To the nearest whole number, of two the even one.
DEVICE uint64_t whole_number(float value) { return __float2ull_rn(value); }
/// The upper half of a product, and how many of a number's first bits are zero.
DEVICE uint64_t high_product(uint64_t a, uint64_t b) { return __umul64hi(a, b); }
DEVICE int leading_zeros(uint64_t value) { return __clzll((long long)value); }
/// 1 / value, the last bit perhaps another.
DEVICE float reciprocal(float value) { return __fdividef(1.f, value); }
DEVICE uint32_t bits_of(float value) { return __float_as_uint(value); }
DEVICE float float_of(uint32_t bits) { return __uint_as_float(bits); }
DEVICE double double_of(uint64_t bits) { return __longlong_as_double((long long)bits); }

/// 16 bytes that are read once: past the first-level cache.
struct alignas(16) Words4 { uint32_t x, y, z, w; };
DEVICE Words4 load_once(const void *p) {
  Words4 v;
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
  return v;
}

/// 16 bytes of the host's memory, as they are now.
DEVICE Words4 load_mapped(const void *p) {
  Words4 v;
  asm volatile("ld.volatile.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p) : "memory");
  return v;
}
/// Sets a word of the host's memory, behind all that this block has written there.
DEVICE void set_for_host(uint64_t *word, uint64_t value) {
  asm volatile("st.release.sys.global.u64 [%0], %1;" :: "l"(word), "l"(value) : "memory");
}
/// Adds to a number of the GPU's; returns what was there. What blocks that came before have written
/// can be read from here on, and what this one has, by those that come after.
DEVICE uint32_t add_in_order(uint32_t *place, uint32_t value) {
  uint32_t before;
  asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], %2;"
               : "=r"(before) : "l"(place), "r"(value) : "memory");
  return before;
}

/// A word that is asked for here, and not where it is used first.
DEVICE int32_t load_now(const int32_t *p) {
  int32_t v;
  asm volatile("ld.global.b32 %0, [%1];" : "=r"(v) : "l"(p));
  return v;
}

/// `*place` becomes `key` if that is larger; together with all other threads of the GPU.
DEVICE void raise(uint64_t *place, uint64_t key) {
  atomicMax((unsigned long long *)place, (unsigned long long)key);
}

/// Two floats as bfloat16, to nearest even; `low` in the low half.
DEVICE uint32_t bf16_pair(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
DEVICE uint16_t bf16_bits(float value) { return (uint16_t)bf16_pair(value, 0.f); }
/// `a * b + c` in pairs of bfloat16.
DEVICE uint32_t bf16_multiply_add(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}
/// The bytes of `a` (0 to 3) and `b` (4 to 7) that the digits of `selector` name.
DEVICE uint32_t permute(uint32_t a, uint32_t b, uint32_t selector) {
  return __byte_perm(a, b, selector);
}

/// `c += a · b`: 16×16 times 16×8, bfloat16 into floats. Of lane `4 * g + t`: `a` is rows g and
/// g + 8 of columns 2t and 2t + 1, then of columns 2t + 8 and 2t + 9; `b` those columns' rows of
/// column g; `c` columns 2t and 2t + 1 of row g, then of row g + 8.
DEVICE void multiply_tile(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// `c += a · b`: 16×32 times 32×8, codes of 8 bits with a sign into integers. Of lane `4 * g + t`:
/// `a` is rows g and g + 8 of columns 4t to 4t + 3, then of columns 4t + 16 to 4t + 19; `b` those
/// columns' rows of column g; `c` as of floats.
DEVICE void multiply_tile(int32_t (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Four 8×8 matrices of bfloat16 in shared memory, of which lane 8i + r gives row r of matrix i.
/// Lane 4g + t gets of each: columns 2t and 2t + 1 of row g; transposed, rows 2t and 2t + 1 of
/// column g.
DEVICE void load_matrices(uint32_t (&m)[4], const uint16_t *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"((uint32_t)__cvta_generic_to_shared(row)) : "memory");
}
DEVICE void load_matrices_transposed(uint32_t (&m)[4], const uint16_t *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"((uint32_t)__cvta_generic_to_shared(row)) : "memory");
}

/// Begins a copy of 16 bytes to shared memory, of zeros where there is no source.
DEVICE void begin_copy(void *shared, const void *source, bool is_there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :: "r"((uint32_t)__cvta_generic_to_shared(shared)), "l"(source),
                  "r"(is_there ? 16 : 0) : "memory");
}
/// Those that this thread began make a group.
DEVICE void end_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until no more than the last `pending` groups of this thread are on their way.
template <int pending> DEVICE void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" :: "n"(pending) : "memory");
}

#else
#include "../CUDAEmulator/device_emulation.h"
#endif

#if defined(CU_ONE_LAUNCH)
#include "one_launch.h"
#endif

#define INFINITE __builtin_huge_valf()

struct alignas(8) Float2 { float x, y; VECTOR2(Float2, float) };
struct alignas(16) Float4 { float x, y, z, w; VECTOR4(Float4, float) };
struct alignas(8) Words2 { uint32_t x, y; VECTOR2(Words2, uint32_t) };

DEVICE float float_of_bf16(uint16_t bits) { return float_of((uint32_t)bits << 16); }

/// Bits that are ordered as numbers are. Zeros are equal, whatever their sign.
DEVICE uint32_t ordered_bits(float value) {
  const uint32_t bits = bits_of(add_apart(value, 0.f));
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}
DEVICE float float_of_ordered(uint32_t ordered) {
  return float_of(ordered >> 31 ? ordered & 0x7fffffffu : ~ordered);
}

/// What a gate lets through; the same bits wherever it is.
DEVICE float open_gate(float gate, float value) {
  return gate * reciprocal(add_apart(1, expf(-gate))) * value;
}

/// Writes one element of a row, in each form that is asked for.
DEVICE void put(const cu_rows &rows, int64_t row, int64_t column, float value) {
  if (rows.floats) rows.floats[row * rows.stride + column] = value;
  if (rows.narrow) rows.narrow[row * rows.stride + column] = bf16_bits(value);
}

/// Four neighbours; rows have room for whole fours.
DEVICE void put(const cu_rows &rows, int64_t row, int64_t column, Float4 values) {
  if (rows.floats) *(Float4 *)(rows.floats + row * rows.stride + column) = values;
  if (!rows.narrow) return;
  *(Words2 *)(rows.narrow + row * rows.stride + column) =
    {bf16_pair(values.x, values.y), bf16_pair(values.z, values.w)};
}

/// Numbers of 64 bits, in halves.
DEVICE uint64_t joined(int high, int low) { return (uint64_t)(uint32_t)high << 32 | (uint32_t)low; }
DEVICE uint64_t shuffle_xor(uint64_t value, int mask) {
  const int high = shuffle_xor((int)(value >> 32), mask);
  return joined(high, shuffle_xor((int)(uint32_t)value, mask));
}
DEVICE uint64_t shuffle_up(uint64_t value, int distance) {
  const int high = shuffle_up((int)(value >> 32), distance);
  return joined(high, shuffle_up((int)(uint32_t)value, distance));
}

/// The sum over the 32 lanes of a warp, in every lane; always in the same order.
DEVICE float sum_of_warp(float value) {
  UNROLL for (int mask = 16; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}
DEVICE float largest_of_warp(float value) {
  UNROLL for (int mask = 16; mask > 0; mask /= 2) value = fmaxf(value, shuffle_xor(value, mask));
  return value;
}

DEVICE uint64_t largest_of_warp(uint64_t value) {
  UNROLL for (int mask = 16; mask > 0; mask /= 2) {
    const uint64_t other = shuffle_xor(value, mask);
    if (other > value) value = other;
  }
  return value;
}

/// Leaves the sum over a warp's lanes where `sum_of_warps` finds it behind a barrier.
DEVICE void leave_sum_of_warp(float value, float (&scratch)[cu_threads / 32]) {
  value = sum_of_warp(value);
  if (thread_index() % 32 == 0) scratch[thread_index() / 32] = value;
}
DEVICE float sum_of_warps(const float (&scratch)[cu_threads / 32]) {
  float sum = 0;
  UNROLL for (int warp = 0; warp < cu_threads / 32; warp++) sum += scratch[warp];
  return sum;
}

/// The sum over a block of `cu_threads`, in every thread. All call it; `scratch` is shared.
DEVICE float sum_of_block(float value, float (&scratch)[cu_threads / 32]) {
  leave_sum_of_warp(value, scratch);
  sync_block();
  return sum_of_warps(scratch);
}
