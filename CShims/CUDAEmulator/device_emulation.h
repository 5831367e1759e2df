// SPDX-License-Identifier: Apache-2.0
// The words of `CUDAKernels/device.h` for a processor: each thread of a block is a fiber, and what
// a warp does together is done when its 32 fibers have come to it. One block runs at a time in the
// process, so shared memory is static; of blocks that run by turns, it is put aside meanwhile.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define DEVICE [[maybe_unused]] static inline
#define DEVICE_MEMBER inline
#define DEVICE_CALLED static
#define SHARED static __attribute__((section("emulated_shared")))
#define DYNAMIC_SHARED(type, name) type *name = (type *)emulation::dynamic_shared
/// Copies that are made of references, which `-fsanitize=alignment` looks at.
#define VECTOR2(name, type)                                     \
  name() : x(), y() {}                                          \
  name(type x, type y) : x(x), y(y) {}                          \
  name(const name &other) : x(other.x), y(other.y) {}           \
  name &operator=(const name &other) {                          \
    x = other.x, y = other.y;                                   \
    return *this;                                               \
  }
#define VECTOR4(name, type)                                                     \
  name() : x(), y(), z(), w() {}                                                \
  name(type x, type y, type z, type w) : x(x), y(y), z(z), w(w) {}              \
  name(const name &other) : x(other.x), y(other.y), z(other.z), w(other.w) {}   \
  name &operator=(const name &other) {                                          \
    x = other.x, y = other.y, z = other.z, w = other.w;                         \
    return *this;                                                               \
  }
#define UNROLL
#define UNROLL_BY(times)

/// Only what the driver has is for others to see: so the compiler reaches all else directly.
#define EMULATION namespace emulation __attribute__((visibility("hidden")))

EMULATION {

/// Of a block, or of blocks that run by turns.
constexpr int threads_max = 1024;
/// Blocks that run by turns, and that wait for the kernels in front of theirs, at most.
constexpr int together_max = 4, early_max = 4;
constexpr int fibers_max = threads_max * (1 + early_max);

struct Position { int x, y, z; };

/// Operands of a warp's product and its sums; each lane has places of its own. A word is two bf16,
/// or four codes, that are neighbours in k.
struct Tile {
  uint32_t a[16][8], b[8][8];
  union {
    float sums[16][8];
    int32_t integers[16][8];
  };
};

struct GroupProduct;

/// What lanes of a warp give each other. What a lane may write while others have not read yet is
/// there twice, by turns.
struct Warp {
  uint32_t words[2][32];
  const uint16_t *rows[2][32];
  Tile tile;
  const GroupProduct *products[32];
};

/// 16 bytes on their way to shared memory; zeros if there is no source.
struct Copy {
  void *destination;
  const void *source;
};

/// A thread's copies that are on their way, in order, and where its groups of them end.
struct Copies {
  static constexpr int most = 256, groups_most = 8;
  Copy list[most];
  int count, ends[groups_most], groups;
  /// How often the thread has published what it copied.
  unsigned publications;

  /// Does those of all groups but the last `pending`.
  void finish(int pending);
  void publish() { publications++; }
};

/// The fiber that runs, and the first of its block.
extern int thread;
extern int first_thread;
extern Position block, grid;
extern int threads_of_block;
extern int waits_for_previous;
/// Whether the block has begun before the kernel in front of its own is done.
extern bool is_front_busy;
extern unsigned turns[fibers_max];
extern Warp warps[fibers_max / 32];
/// Of the block; and all there is, which blocks have parts of.
extern char *dynamic_shared, *dynamic_memory;
extern Copies copies[fibers_max];

/// Ends the run of the block with a message.
[[noreturn]] void fail(const char *what);

/// Wait until all of the warp, or of the block, are there.
void wait_for_warp();
void wait_for_block();
/// The same of the warp; the last to come does the work for all.
void do_together(void (*work)(Warp &));
/// `sums += a · b` of a warp's tile: of bf16, each sum in order of k, and of codes.
void multiply_floats(Warp &warp);
void multiply_codes(Warp &warp);
/// Lets others run, other blocks of a launch together among them.
void poll();
/// Waits until the kernels in front are done.
void wait_for_front();
/// Something was done that others may wait for.
void note_progress();
/// Ends the run of the block with a message.
[[noreturn]] void fail(const char *what);
/// What a thread reads or writes at once must lie at a multiple of its size.
[[noreturn]] void fail_misaligned();

/// A kernel by its name, with the size of its argument and the threads of its blocks at most.
struct Kernel {
  const char *name;
  size_t argument_bytes;
  int threads;
  void (*run)(const void *argument);
  /// Whether all blocks of a launch run by turns.
  bool is_together = false;
  /// Whether those behind it read without waiting what it writes.
  bool is_first = false;
  /// Whether it does something before it waits for the kernels in front.
  bool begins_early = false;
};
void add(const Kernel &kernel);

struct Registration {
  explicit Registration(const Kernel &kernel) { add(kernel); }
};

}  // namespace emulation

#if !defined(CU_ONE_LAUNCH)
#define EARLY_KERNEL(name, Arguments, threads)                                               \
  static void name(const Arguments &op);                                                     \
  static const emulation::Registration name##_registration({#name, sizeof(Arguments), threads, \
    [](const void *argument) { name(*(const Arguments *)argument); }, false, false, true});  \
  static void name(const Arguments &op)
#define EARLY_KERNEL_FOR(name, Arguments, threads, blocks) EARLY_KERNEL(name, Arguments, threads)
#define WAITING_KERNEL(name, Arguments, threads, is_first)                                   \
  static void name##_work(const Arguments &op);                                              \
  static const emulation::Registration name##_registration({#name, sizeof(Arguments), threads, \
    [](const void *argument) {                                                               \
      wait_for_previous();                                                                   \
      name##_work(*(const Arguments *)argument);                                             \
    }, false, is_first});                                                                    \
  static void name##_work(const Arguments &op)
#define FIRST_KERNEL(name, Arguments, threads) WAITING_KERNEL(name, Arguments, threads, true)
#define KERNEL(name, Arguments, threads) WAITING_KERNEL(name, Arguments, threads, false)

DEVICE void let_next_begin() {}
/// A block that does not wait is a fault: who waits for its kernel would take it that all before
/// that is done too.
DEVICE void wait_for_previous() {
  emulation::waits_for_previous++;
  if (emulation::is_front_busy) emulation::wait_for_front();
}
DEVICE int block_x() { return emulation::block.x; }
DEVICE int block_y() { return emulation::block.y; }
DEVICE int block_z() { return emulation::block.z; }
DEVICE int grid_x() { return emulation::grid.x; }
#else
#define TOGETHER_KERNEL(name, Arguments, threads)                                              \
  static void name(const Arguments &op);                                                       \
  static const emulation::Registration name##_registration({#name, sizeof(Arguments), threads, \
    [](const void *argument) { name(*(const Arguments *)argument); }, true});                  \
  static void name(const Arguments &op)
DEVICE int launched_block() { return emulation::block.x; }
DEVICE int launched_blocks() { return emulation::grid.x; }
DEVICE void add_released(uint32_t *sum, uint32_t value) {
  *sum += value;
  emulation::note_progress();
}
DEVICE void wait_until(const uint32_t *sum, uint32_t value) {
  emulation::waits_for_previous++;
  while (*(const volatile uint32_t *)sum < value) emulation::poll();
}
#endif

DEVICE int thread_index() { return emulation::thread - emulation::first_thread; }
DEVICE int block_threads() { return emulation::threads_of_block; }
DEVICE void sync_block() { emulation::wait_for_block(); }
DEVICE void sync_warp() { emulation::wait_for_warp(); }
DEVICE uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}
DEVICE float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
DEVICE double double_of(uint64_t bits) {
  double value;
  memcpy(&value, &bits, 8);
  return value;
}
/// A word of each lane of the warp, until the next exchange but one.
DEVICE const uint32_t *exchange(uint32_t value) {
  const int self = emulation::thread, turn = emulation::turns[self]++ & 1;
  emulation::Warp &warp = emulation::warps[self / 32];
  warp.words[turn][self % 32] = value;
  emulation::wait_for_warp();
  return warp.words[turn];
}
DEVICE int shuffle_xor(int value, int mask) {
  return (int)exchange((uint32_t)value)[(thread_index() % 32) ^ mask];
}
DEVICE float shuffle_xor(float value, int mask) {
  return float_of(exchange(bits_of(value))[(thread_index() % 32) ^ mask]);
}
DEVICE int shuffle_up(int value, int distance) {
  const int lane = thread_index() % 32;
  return (int)exchange((uint32_t)value)[lane < distance ? lane : lane - distance];
}
DEVICE uint32_t largest_of_warp(uint32_t value) {
  const uint32_t *words = exchange(value);
  for (int lane = 0; lane < 32; lane++) value = words[lane] > value ? words[lane] : value;
  return value;
}
DEVICE int sum_of_warp(int value) {
  const uint32_t *words = exchange((uint32_t)value);
  uint32_t sum = 0;
  for (int lane = 0; lane < 32; lane++) sum += words[lane];
  return (int)sum;
}
DEVICE uint32_t add_together(uint32_t *place, uint32_t value) {
  const uint32_t before = *place;
  *place += value;
  return before;
}
DEVICE void add_together(uint64_t *place, uint64_t value) { *place += value; }
DEVICE float add_apart(float a, float b) {
#pragma clang fp contract(off)
  return a + b;
}
DEVICE float multiply_apart(float a, float b) {
#pragma clang fp contract(off)
  return a * b;
}
DEVICE double add_apart(double a, double b) {
#pragma clang fp contract(off)
  return a + b;
}
DEVICE double multiply_apart(double a, double b) {
#pragma clang fp contract(off)
  return a * b;
}
DEVICE float divide(float a, float b) { return a / b; }
DEVICE uint64_t whole_number(float value) { return (uint64_t)llrintf(value); }
DEVICE uint64_t high_product(uint64_t a, uint64_t b) {
  return (uint64_t)((unsigned __int128)a * b >> 64);
}
DEVICE int leading_zeros(uint64_t value) { return value ? __builtin_clzll(value) : 64; }
DEVICE float reciprocal(float value) { return 1 / value; }
DEVICE uint32_t vote(bool is_so) {
  const uint32_t *words = exchange(is_so);
  uint32_t lanes = 0;
  for (int lane = 0; lane < 32; lane++) lanes |= words[lane] << lane;
  return lanes;
}
DEVICE int count_bits(uint32_t bits) { return __builtin_popcount(bits); }
DEVICE void or_shared(uint32_t *place, uint32_t bits) { *place |= bits; }
DEVICE void add_shared(int32_t *place, int32_t value) { *place += value; }

DEVICE void raise(uint64_t *place, uint64_t key) { *place = *place < key ? key : *place; }

struct alignas(16) Words4 { uint32_t x, y, z, w; VECTOR4(Words4, uint32_t) };
DEVICE Words4 load_once(const void *p) { return *(const Words4 *)p; }
DEVICE int32_t load_now(const int32_t *p) { return *p; }
DEVICE Words4 load_mapped(const void *p) { return load_once(p); }
DEVICE void set_for_host(uint64_t *word, uint64_t value) {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
}
DEVICE uint32_t add_in_order(uint32_t *place, uint32_t value) {
  return add_together(place, value);
}

DEVICE float float_of_half(uint32_t half) { return float_of(half << 16); }
DEVICE uint16_t bf16_bits(float value) {
  const uint32_t bits = bits_of(value);
  if (value != value) return 0x7fff;
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
DEVICE uint32_t bf16_pair(float low, float high) {
  return bf16_bits(low) | (uint32_t)bf16_bits(high) << 16;
}
DEVICE uint32_t bf16_multiply_add(uint32_t a, uint32_t b, uint32_t c) {
  const float low = fmaf(float_of_half(a & 0xffff), float_of_half(b & 0xffff),
                         float_of_half(c & 0xffff));
  return bf16_pair(low, fmaf(float_of_half(a >> 16), float_of_half(b >> 16),
                             float_of_half(c >> 16)));
}
DEVICE uint32_t permute(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t bytes = a | (uint64_t)b << 32;
  uint32_t result = 0;
  for (int i = 0; i < 4; i++) {
    result |= (uint32_t)(bytes >> (selector >> (4 * i) & 7) * 8 & 0xff) << (8 * i);
  }
  return result;
}

/// By its definition: every lane gives its parts of the operands and of the sums, and takes its
/// four sums when the last has multiplied.
template <typename Sum>
DEVICE void multiply_together(Sum (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                              Sum (&sums)[16][8], void (*multiply)(emulation::Warp &)) {
  const int self = emulation::thread, lane = self % 32, g = lane / 4, t = lane % 4;
  emulation::Tile &tile = emulation::warps[self / 32].tile;
  for (int i = 0; i < 4; i++) tile.a[g + i % 2 * 8][t + i / 2 * 4] = a[i];
  tile.b[t][g] = b0, tile.b[t + 4][g] = b1;
  memcpy(&sums[g][t * 2], c, 8);
  memcpy(&sums[g + 8][t * 2], c + 2, 8);
  emulation::do_together(multiply);
  memcpy(c, &sums[g][t * 2], 8);
  memcpy(c + 2, &sums[g + 8][t * 2], 8);
}
DEVICE void multiply_tile(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  multiply_together(c, a, b0, b1, emulation::warps[emulation::thread / 32].tile.sums,
                    emulation::multiply_floats);
}
DEVICE void multiply_tile(int32_t (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  multiply_together(c, a, b0, b1, emulation::warps[emulation::thread / 32].tile.integers,
                    emulation::multiply_codes);
}

/// What lane 4g + t gets of matrix i: elements 2t and 2t + 1 of row g, or of rows 2t and 2t + 1 the
/// element g.
DEVICE void load_matrices(uint32_t (&m)[4], const uint16_t *row, bool is_transposed) {
  const int self = emulation::thread, lane = self % 32, g = lane / 4, t = lane % 4 * 2;
  const int turn = emulation::turns[self]++ & 1;
  emulation::Warp &warp = emulation::warps[self / 32];
  if ((uintptr_t)row % 16 != 0) emulation::fail_misaligned();
  warp.rows[turn][lane] = row;
  emulation::wait_for_warp();
  for (int i = 0; i < 4; i++) {
    const uint16_t *const *rows = warp.rows[turn] + 8 * i;
    const uint16_t low = is_transposed ? rows[t][g] : rows[g][t];
    const uint16_t high = is_transposed ? rows[t + 1][g] : rows[g][t + 1];
    m[i] = low | (uint32_t)high << 16;
  }
}
DEVICE void load_matrices(uint32_t (&m)[4], const uint16_t *row) { load_matrices(m, row, false); }
DEVICE void load_matrices_transposed(uint32_t (&m)[4], const uint16_t *row) {
  load_matrices(m, row, true);
}

DEVICE void begin_copy(void *shared, const void *source, bool is_there) {
  if (((uintptr_t)shared | (uintptr_t)source) % 16 != 0) emulation::fail_misaligned();
  emulation::Copies &mine = emulation::copies[emulation::thread];
  if (mine.count == mine.most) abort();
  // Who still reads what was there has it no more.
  memset(shared, 0xff, 16);
  mine.list[mine.count++] = {shared, is_there ? source : nullptr};
}
DEVICE void end_copies() {
  emulation::Copies &mine = emulation::copies[emulation::thread];
  if (mine.groups == mine.groups_most) abort();
  mine.ends[mine.groups++] = mine.count;
}
/// Copies are made here and not before: a missing wait gives wrong results every time.
template <int pending> DEVICE void wait_for_copies() {
  emulation::copies[emulation::thread].finish(pending);
}
