// SPDX-License-Identifier: Apache-2.0
// A gated unit (SwiGLU, Shazeer 2020) with both products that it opens and closes: a worker
// computes some columns of gate and up, and leaves only what comes of them.
#pragma once
#include "body_gemm.h"
#include "body_quantize.h"
#include "body_rows.h"

/// The product from a panel on.
static ck_gemm from_panel(const ck_gemm *g, int64_t panel) {
  ck_gemm part = *g;
  const int64_t column = panel * CK_PANEL;
  part.panels = panels_from(g, panel);
  if (g->type == CK_W8 || g->type == CK_W4)
    part.scales += column * ck_scale_groups(g->type, g->inner);
  if (g->type == CK_INT8 || g->type == CK_INT4) {
    const int64_t groups = (g->inner + g->factors.group - 1) / g->factors.group;
    part.factors.scales += column * groups;
    part.factors.zeros += column * groups;
  }
  if (g->bias != NULL) part.bias += column;
  part.columns -= column;
  return part;
}

/// The columns `column ..< column + width` of row `row` of the result.
INLINE void close_gate(
    const ck_gated *u, const float *gate, const float *up, int64_t row, int64_t column,
    int64_t width) {
  for (int64_t d = 0; d < width; d += CK_CODE_PART) {
    float values[CK_CODE_PART];
    for (int64_t i = 0; i < CK_CODE_PART; i += 16) {
      const int64_t left = width - d - i;
      if (left <= 0) {
        store(values + i, splat(0));
        continue;
      }
      const v16f g = load_some(gate + d + i, left), x = load_some(up + d + i, left);
      const v16f y = silu(g) * x;
      store(values + i, y);
      if (u->output != NULL)
        store_some(u->output + row * u->output_stride + column + d + i, y, left);
    }
    if (u->codes.codes == NULL) continue;
    const int64_t groups = row * u->codes.group_count, from = column + d;
    quantize_part(
        values, u->codes.codes + groups * CK_CODE_GROUP + from,
        u->codes.groups + groups + from / CK_CODE_GROUP, from % CK_CODE_GROUP / CK_CODE_PART);
  }
}

/// One product of a pair, rows and panels of a unit, written one row behind the other.
static ck_gemm part_of(const ck_gemm *g, const work_unit *u, float *output) {
  const ck_gemm panels = from_panel(g, u->panel);
  ck_gemm part = of_rows(&panels, u->row, &u->rows);
  part.output = output;
  part.output_stride = CK_GATED_COLUMNS;
  part.output_rows = NULL;
  return part;
}

/// A unit of a pair. Scratch: CK_GATED_SCRATCH floats.
static void run_gated_unit(
    const ck_gated *g, const ck_gemm *pair, const work_unit *u, float *scratch) {
  float *gates = scratch, *ups = scratch + CK_UNIT_ROWS * CK_GATED_COLUMNS;
  const ck_gemm gate = part_of(&pair[0], u, gates), up = part_of(&pair[1], u, ups);
  const int64_t panels = u->end - u->panel, column = u->panel * CK_PANEL;
  const int64_t width = u->end * CK_PANEL < pair->columns ? panels * CK_PANEL
                                                          : pair->columns - column;
  multiply_panels(&gate, 0, panels, up.panels);
  // What a worker claims next lies behind this.
  multiply_panels(&up, 0, panels, panels_from(&gate, panels));
  for (int64_t r = 0; r < u->rows; r++)
    close_gate(
        g, gates + r * CK_GATED_COLUMNS, ups + r * CK_GATED_COLUMNS,
        pair->output_rows ? pair->output_rows[u->row + r] : u->row + r, column, width);
}

static void run_gated(const void *arguments, const ck_step *step, ck_worker *worker) {
  (void)step;
  const ck_gated *g = arguments;
  const int64_t threads = ck_pool_threads(worker->pool);
  int64_t claim = ck_claim(worker), first = 0;
  for (int64_t i = 0; i < g->pairs; i++) {
    const ck_gemm *pair = &g->gate_up[2 * i];
    const unit_grid grid = units_of(pair, g->unit_panels);
    const int64_t units = grid.row_parts * grid.panel_parts;
    for (; claim < first + units; claim = ck_claim(worker)) {
      const int64_t part = spread((claim - first) % grid.panel_parts, grid.panel_parts, threads);
      const work_unit u = unit_at(&grid, (claim - first) / grid.panel_parts, part);
      run_gated_unit(g, pair, &u, worker->scratch);
    }
    first += units;
  }
}
