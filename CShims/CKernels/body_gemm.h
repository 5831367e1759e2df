// SPDX-License-Identifier: Apache-2.0
// Matrix products over panels. Every element is one chain of multiply-adds over k = 0, 1, 2, …:
// neither tiles nor cuts of k (partial sums wait in the output as they are) change its bits.
#pragma once
#include "body_codes.h"
#include "kernels.h"
#include "pairs.h"
#include "vector.h"

/// Inner indices of one pass: panels of a unit and the inputs of a row tile stay in L2.
enum { INNER_BLOCK = 512 };

typedef struct {
  const float *inputs[CK_ROWS];
  float *outputs[CK_ROWS];
#if CK_BF16_PAIRS
  /// The inputs of a pass, rounded.
  uint16_t halves[CK_ROWS][INNER_BLOCK];
#endif
} row_tile;

#if CK_BF16_PAIRS
/// Two inner indices at a time, both numbers of a product in bf16.
INLINE void multiply_pairs(
    const row_tile *t, const int rows, const int panels, const uint16_t *panel, int64_t stride,
    int64_t from, int64_t to, v16f sums[][4]) {
  for (int64_t k = from; k < to; k += 2) {
    v16u w[4];
#pragma clang loop unroll(full)
    for (int p = 0; p < panels; p++) {
      const uint16_t *row = panel + p * stride + k * CK_PANEL;
      w[p] = k + 1 < to ? pair_rows(row) : pair_with_none(row);
    }
#pragma clang loop unroll(full)
    for (int r = 0; r < rows; r++) {
      uint32_t pair;
      memcpy(&pair, &t->halves[r][k - from], sizeof pair);
#pragma clang loop unroll(full)
      for (int p = 0; p < panels; p++) sums[r][p] = dot2(sums[r][p], w[p], splat_pair(pair));
    }
  }
}
#endif

/// One register tile: `rows` × `panels`, over the inner indices `from ..< to`.
INLINE void multiply_tile(
    const ck_gemm *g, const row_tile *t, const int rows, const int panels, const int is_bf16,
    int64_t panel, int64_t from, int64_t to) {
  const int64_t stride = g->inner * CK_PANEL;
  const float *w32 = (const float *)g->panels + panel * stride;
  const uint16_t *w16 = (const uint16_t *)g->panels + panel * stride;
  v16f sums[CK_ROWS][4];
#pragma clang loop unroll(full)
  for (int r = 0; r < rows; r++)
#pragma clang loop unroll(full)
    for (int p = 0; p < panels; p++) {
      const int64_t column = (panel + p) * CK_PANEL;
      sums[r][p] = from == 0 ? splat(0) : load_some(t->outputs[r] + column, g->columns - column);
    }
#if CK_BF16_PAIRS
  if (is_bf16) multiply_pairs(t, rows, panels, w16, stride, from, to, sums);
#endif
  for (int64_t k = CK_BF16_PAIRS && is_bf16 ? to : from; k < to; k++) {
    v16f w[4];
#pragma clang loop unroll(full)
    for (int p = 0; p < panels; p++)
      w[p] = is_bf16 ? load_bf16(w16 + p * stride + k * CK_PANEL)
                     : load(w32 + p * stride + k * CK_PANEL);
#pragma clang loop unroll(full)
    for (int r = 0; r < rows; r++) {
      const v16f x = splat(t->inputs[r][k]);
#pragma clang loop unroll(full)
      for (int p = 0; p < panels; p++) sums[r][p] = fma16(x, w[p], sums[r][p]);
    }
  }
  const int with_bias = g->bias != NULL && to == g->inner;
#pragma clang loop unroll(full)
  for (int r = 0; r < rows; r++)
#pragma clang loop unroll(full)
    for (int p = 0; p < panels; p++) {
      const int64_t column = (panel + p) * CK_PANEL, left = g->columns - column;
      if (with_bias) sums[r][p] += load_some(g->bias + column, left);
      store_some(t->outputs[r] + column, sums[r][p], left);
    }
}

/// `rows` rows by any number of panels.
INLINE void multiply_rows(
    const ck_gemm *g, const row_tile *t, const int rows, const int is_bf16, int64_t panel,
    int64_t end, int64_t from, int64_t to) {
  const int wide = CK_PANELS(rows);
  while (panel + wide <= end) {
    multiply_tile(g, t, rows, wide, is_bf16, panel, from, to);
    panel += wide;
  }
  for (; panel < end; panel++) multiply_tile(g, t, rows, 1, is_bf16, panel, from, to);
}

/// Kept apart from each other, one for each shape, so that registers are assigned to each alone.
#define DEFINE_ROWS(rows, type, is_bf16)                                                  \
  static __attribute__((noinline)) void multiply_##rows##_##type(                         \
      const ck_gemm *g, const row_tile *t, int64_t panel, int64_t end, int64_t from,      \
      int64_t to) {                                                                       \
    multiply_rows(g, t, rows, is_bf16, panel, end, from, to);                             \
  }
#define DEFINE_TYPES(rows) DEFINE_ROWS(rows, f32, 0) DEFINE_ROWS(rows, bf16, 1)

typedef void (*multiply)(
    const ck_gemm *, const row_tile *, int64_t, int64_t, int64_t, int64_t);

DEFINE_TYPES(1)
DEFINE_TYPES(2)
#if CK_ROWS >= 4
DEFINE_TYPES(3)
DEFINE_TYPES(4)
#endif
#if CK_ROWS >= 6
DEFINE_TYPES(5)
DEFINE_TYPES(6)
#endif

static const multiply multiplies[2][CK_ROWS] = {
  {multiply_1_f32, multiply_2_f32,
#if CK_ROWS >= 4
   multiply_3_f32, multiply_4_f32,
#endif
#if CK_ROWS >= 6
   multiply_5_f32, multiply_6_f32,
#endif
  },
  {multiply_1_bf16, multiply_2_bf16,
#if CK_ROWS >= 4
   multiply_3_bf16, multiply_4_bf16,
#endif
#if CK_ROWS >= 6
   multiply_5_bf16, multiply_6_bf16,
#endif
  },
};

/// All rows by the panels of one unit, which are read from memory once.
static void multiply_unit(const ck_gemm *g, int64_t panel, int64_t end) {
  const int64_t rows = *g->rows;
  const int in_pairs = CK_BF16_PAIRS && g->type == CK_BF16;
  // A single row tile needs no second look at a panel: one pass over all of k, unless its inputs
  // are rounded on the way.
  const int64_t block = rows <= CK_ROWS && !in_pairs ? g->inner : INNER_BLOCK;
  for (int64_t from = 0; from < g->inner; from += block) {
    const int64_t to = from + block < g->inner ? from + block : g->inner;
    for (int64_t row = 0; row < rows; row += CK_ROWS) {
      const int64_t count = rows - row < CK_ROWS ? rows - row : CK_ROWS;
      row_tile tile;
      for (int64_t r = 0; r < count; r++) {
        const int64_t in = g->input_rows ? g->input_rows[row + r] : row + r;
        const int64_t out = g->output_rows ? g->output_rows[row + r] : row + r;
        tile.inputs[r] = g->input + in * g->input_stride;
        tile.outputs[r] = g->output + out * g->output_stride;
#if CK_BF16_PAIRS
        if (in_pairs) round_pairs(tile.inputs[r] + from, tile.halves[r], to - from);
#endif
      }
      multiplies[g->type == CK_BF16][count - 1](g, &tile, panel, end, from, to);
    }
  }
}

/// A product's panels from one on.
INLINE const void *panels_from(const ck_gemm *g, int64_t panel) {
  return (const uint8_t *)g->panels + ck_panel_bytes(g->type, g->inner, panel * CK_PANEL);
}

/// The product of rows `row ..< row + *rows`.
static ck_gemm of_rows(const ck_gemm *g, int64_t row, const int64_t *rows) {
  ck_gemm part = *g;
  part.rows = rows;
  if (g->output_rows != NULL)
    part.output_rows += row;
  else
    part.output += row * g->output_stride;
  if (g->input_rows != NULL) {
    part.input_rows += row;
    return part;
  }
  part.input += row * g->input_stride;
  if (g->codes.codes == NULL) return part;
  part.codes.codes += row * g->codes.group_count * CK_CODE_GROUP;
  part.codes.groups += row * g->codes.group_count;
  return part;
}

/// Units of work of a product: parts of its rows, of almost one size, by parts of its panels. Units
/// of the same rows lie behind each other.
typedef struct {
  int64_t rows, panels;
  int64_t row_parts, panel_parts;
  int64_t unit_panels;
} unit_grid;

INLINE unit_grid units_of(const ck_gemm *g, int64_t unit_panels) {
  const int64_t rows = *g->rows, panels = (g->columns + CK_PANEL - 1) / CK_PANEL;
  return (unit_grid){
    rows, panels, (rows + CK_UNIT_ROWS - 1) / CK_UNIT_ROWS,
    (panels + unit_panels - 1) / unit_panels, unit_panels};
}

/// Rows `row ..< row + rows`, panels `panel ..< end`.
typedef struct {
  int64_t row, rows, panel, end;
} work_unit;

INLINE work_unit unit_at(const unit_grid *grid, int64_t row_part, int64_t panel_part) {
  const int64_t row = row_part * grid->rows / grid->row_parts;
  const int64_t panel = panel_part * grid->unit_panels, end = panel + grid->unit_panels;
  return (work_unit){
    row, (row_part + 1) * grid->rows / grid->row_parts - row, panel,
    end < grid->panels ? end : grid->panels};
}

/// All rows by the panels `panel ..< end`. `next` are the panels that come after them.
static void multiply_panels(const ck_gemm *g, int64_t panel, int64_t end, const void *next) {
  if (g->type == CK_FP8)
    ck_multiply_fp8(g, panel, end);
  else if (ck_takes_codes(g->type))
    multiply_code_unit(g, panel, end, next);
  else
    multiply_unit(g, panel, end);
}

/// The part that claim `i` of `parts` is for. What workers claim at the same time lies far apart:
/// neighbours' codes share cache lines, and what is asked for beyond the end of a part would be
/// another worker's. What one claims next lies behind what it has read, if all are as fast.
INLINE int64_t spread(int64_t i, int64_t parts, int64_t threads) {
  const int64_t each = parts / threads;
  return i < each * threads ? i % threads * each + i / threads : i;
}

static void run_gemms(const void *arguments, const ck_step *step, ck_worker *worker) {
  (void)step;
  const ck_gemms *phase = arguments;
  const int64_t threads = ck_pool_threads(worker->pool);
  int64_t claim = ck_claim(worker), first = 0;
  for (int64_t product = 0; product < phase->count; product++) {
    const ck_gemm *g = &phase->products[product];
    const unit_grid grid = units_of(g, phase->unit_panels);
    const int64_t units = grid.row_parts * grid.panel_parts;
    for (; claim < first + units; claim = ck_claim(worker)) {
      const int64_t i = (claim - first) % grid.panel_parts;
      // Tiles of floats read several panels at once, and gain nothing.
      const int64_t part = ck_takes_codes(g->type) ? spread(i, grid.panel_parts, threads) : i;
      const work_unit u = unit_at(&grid, (claim - first) / grid.panel_parts, part);
      const void *next = panels_from(g, u.end);
      if (grid.row_parts == 1) {
        multiply_panels(g, u.panel, u.end, next);
      } else {
        const ck_gemm rows = of_rows(g, u.row, &u.rows);
        multiply_panels(&rows, u.panel, u.end, next);
      }
    }
    first += units;
  }
}
