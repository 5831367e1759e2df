// SPDX-License-Identifier: Apache-2.0
// What tensor cores do, once for each warp and not once for each lane: both operands as floats,
// then all sums, eight columns at a time.
#include "fibers.h"
#include "wgmma_emulation.h"

// A product is rounded before it is added, whatever the processor could do.
#pragma clang fp contract(off)

// Compiled twice where it pays; the library picks what the processor has.
#if defined(__x86_64__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif
#define INLINE inline __attribute__((always_inline))

namespace emulation {

namespace {

constexpr int rows = 16;

typedef float Eight __attribute__((vector_size(32)));

// What a word of an operand stands for.

struct Bfloat16 {
  static constexpr int of_word = 2;
  static INLINE float value(uint32_t word, int index) {
    return float_of(index == 0 ? word << 16 : word & 0xffff0000u);
  }
};

/// Floats exactly, and so are their sums.
struct Signed8 {
  static constexpr int of_word = 4;
  static INLINE float value(uint32_t word, int index) { return (float)(int8_t)(word >> 8 * index); }
};

/// e4m3: no infinity, and a NaN where all other bits are set.
struct Float8Values {
  float of_code[256];

  Float8Values() {
    for (int code = 0; code < 256; code++) {
      const int exponent = code >> 3 & 15, mantissa = code & 7;
      const float magnitude = exponent == 0 ? ldexpf((float)mantissa, -9)
                                            : ldexpf((float)(8 + mantissa), exponent - 10);
      of_code[code] = code & 0x80 ? -magnitude : magnitude;
      if ((code & 0x7f) == 0x7f) of_code[code] = float_of(0x7fc00000u);
    }
  }
};
const Float8Values float8_values;

struct Float8 {
  static constexpr int of_word = 4;
  static INLINE float value(uint32_t word, int index) {
    return float8_values.of_code[word >> 8 * index & 0xff];
  }
};

/// `sums += a · b`, each sum in order of k. Four rows together, since a sum waits for itself.
template <int inner, int columns>
INLINE void add_products(const float (&a)[rows][inner], const float (&b)[inner][columns],
                         float (&sums)[rows][columns]) {
  for (int row = 0; row < rows; row += 4) {
    for (int column = 0; column < columns; column += 8) {
      Eight four[4];
      for (int i = 0; i < 4; i++) memcpy(&four[i], &sums[row + i][column], sizeof(Eight));
      for (int k = 0; k < inner; k++) {
        Eight factors;
        memcpy(&factors, &b[k][column], sizeof(Eight));
        for (int i = 0; i < 4; i++) four[i] += a[row + i][k] * factors;
      }
      for (int i = 0; i < 4; i++) memcpy(&sums[row + i][column], &four[i], sizeof(Eight));
    }
  }
}

template <class Format>
INLINE void multiply_words(const Tile &tile, float (&sums)[rows][8]) {
  constexpr int of_word = Format::of_word, inner = 8 * of_word;
  float a[rows][inner], b[inner][8];
  for (int row = 0; row < rows; row++) {
    for (int k = 0; k < inner; k++) {
      a[row][k] = Format::value(tile.a[row][k / of_word], k % of_word);
    }
  }
  for (int k = 0; k < inner; k++) {
    for (int column = 0; column < 8; column++) {
      b[k][column] = Format::value(tile.b[k / of_word][column], k % of_word);
    }
  }
  add_products(a, b, sums);
}

/// Where 16 bytes of a token are, `number` times 16 behind its first, by what a descriptor says:
/// its place, the distances of the next 16 bytes and of the next eight tokens, each in 16 bytes,
/// and no swizzle.
const char *part_of_matrix(uint64_t matrix, int token, int number) {
  if (matrix >> 46) fail("the layout of a matrix is not emulated");
  const uint32_t place = (matrix & 0x3fff) * 16 + (matrix >> 16 & 0x3fff) * 16 * (uint32_t)number
    + (matrix >> 32 & 0x3fff) * 16 * (uint32_t)(token / 8) + (uint32_t)(token % 8 * 16);
  const char *found = dynamic_shared + place;
  read_by_product(found);
  return found;
}

// Which of a warp's sums `c[i]` of a lane is.
INLINE int row_of(int lane, int i) { return lane / 4 + i % 4 / 2 * 8; }
INLINE int column_of(int lane, int i) { return i / 4 * 8 + lane % 4 * 2 + i % 2; }

template <class Format, int columns>
INLINE void multiply_matrix(const GroupProduct *const (&products)[32]) {
  constexpr int of_word = Format::of_word, inner = 8 * of_word;
  float a[rows][inner], b[inner][columns], sums[rows][columns];
  const bool adds = products[0]->adds;
  for (int column = 0; column < columns; column++) {
    for (int number = 0; number < 2; number++) {
      uint32_t words[4];
      memcpy(words, part_of_matrix(products[0]->b, column, number), sizeof words);
      for (int k = 0; k < inner / 2; k++) {
        b[number * (inner / 2) + k][column] = Format::value(words[k / of_word], k % of_word);
      }
    }
  }
  for (int lane = 0; lane < 32; lane++) {
    const GroupProduct &own = *products[lane];
    for (int i = 0; i < 4; i++) {
      float *values = &a[lane / 4 + i % 2 * 8][(lane % 4 + i / 2 * 4) * of_word];
      for (int k = 0; k < of_word; k++) values[k] = Format::value(own.a[i], k);
    }
    for (int i = 0; i < columns / 2; i++) {
      const float sum = !adds ? 0 : own.c ? own.c[i] : (float)own.integers[i];
      sums[row_of(lane, i)][column_of(lane, i)] = sum;
    }
  }
  add_products(a, b, sums);
  for (int lane = 0; lane < 32; lane++) {
    const GroupProduct &own = *products[lane];
    for (int i = 0; i < columns / 2; i++) {
      const float sum = sums[row_of(lane, i)][column_of(lane, i)];
      if (own.c) own.c[i] = sum;
      else own.integers[i] = (int32_t)sum;
    }
  }
}

FOR_EACH_PROCESSOR void multiply_matrices(const GroupProduct *const (&products)[32]) {
  switch (products[0]->type) {
  case GroupProduct::Type::bf16: return multiply_matrix<Bfloat16, 64>(products);
  case GroupProduct::Type::s8: return multiply_matrix<Signed8, 64>(products);
  case GroupProduct::Type::e4m3:
    return products[0]->count == 32 ? multiply_matrix<Float8, 64>(products)
                                    : multiply_matrix<Float8, 32>(products);
  }
}

FOR_EACH_PROCESSOR void multiply_tile_of_floats(Tile &tile) {
  multiply_words<Bfloat16>(tile, tile.sums);
}

FOR_EACH_PROCESSOR void multiply_tile_of_codes(Tile &tile) {
  float sums[rows][8] = {};
  multiply_words<Signed8>(tile, sums);
  for (int row = 0; row < rows; row++) {
    for (int i = 0; i < 8; i++) tile.integers[row][i] += (int32_t)sums[row][i];
  }
}

void multiply_group(Warp &warp) {
  const GroupProduct &first = *warp.products[0];
  for (const GroupProduct *other : warp.products) {
    const bool is_same = other->type == first.type && other->count == first.count
      && other->b == first.b && other->adds == first.adds;
    if (!is_same) fail("the lanes of a warp do not multiply the same");
  }
  multiply_matrices(warp.products);
}

}  // namespace

void multiply_floats(Warp &warp) { multiply_tile_of_floats(warp.tile); }
void multiply_codes(Warp &warp) { multiply_tile_of_codes(warp.tile); }

void multiply_now(const GroupProduct &product) {
  warps[thread / 32].products[thread % 32] = &product;
  do_together(multiply_group);
}

}  // namespace emulation
