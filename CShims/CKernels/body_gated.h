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
  part.panels = (const uint8_t *)g->panels + ck_panel_bytes(g->type, g->inner, column);
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

/// The product of rows `row ..< row + *rows`, written one behind the other.
static ck_gemm from_row(const ck_gemm *g, int64_t row, const int64_t *rows, float *output) {
  ck_gemm part = *g;
  part.rows = rows;
  part.output = output;
  part.output_stride = CK_GATED_COLUMNS;
  part.output_rows = NULL;
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

/// All rows by the panels `panel ..< end` of a pair. Scratch: CK_GATED_SCRATCH floats.
static void run_gated_unit(
    const ck_gated *u, const ck_gemm *pair, int64_t panel, int64_t end, float *scratch) {
  const ck_gemm gate = from_panel(&pair[0], panel), up = from_panel(&pair[1], panel);
  float *gates = scratch, *ups = scratch + CK_GATED_ROWS * CK_GATED_COLUMNS;
  const int64_t rows = *pair->rows, column = panel * CK_PANEL;
  const int64_t width = end * CK_PANEL < pair->columns ? end * CK_PANEL - column
                                                       : pair->columns - column;
  for (int64_t row = 0; row < rows; row += CK_GATED_ROWS) {
    const int64_t count = rows - row < CK_GATED_ROWS ? rows - row : CK_GATED_ROWS;
    const ck_gemm parts[2] = {from_row(&gate, row, &count, gates), from_row(&up, row, &count, ups)};
    for (int i = 0; i < 2; i++) multiply_panels(&parts[i], 0, end - panel);
    for (int64_t r = 0; r < count; r++)
      close_gate(
          u, gates + r * CK_GATED_COLUMNS, ups + r * CK_GATED_COLUMNS,
          pair->output_rows ? pair->output_rows[row + r] : row + r, column, width);
  }
}

/// The unit that claim `i` of `units` is for. What workers claim at the same time lies far apart,
/// since neighbours' codes share cache lines; what one claims next lies behind what it has read.
INLINE int64_t spread(int64_t i, int64_t units, int64_t threads) {
  const int64_t each = units / threads;
  return i < each * threads ? i % threads * each + i / threads : i;
}

static void run_gated(const void *arguments, const ck_step *step, ck_worker *worker) {
  (void)step;
  const ck_gated *u = arguments;
  const int64_t threads = ck_pool_threads(worker->pool);
  int64_t unit = ck_claim(worker), first = 0;
  for (int64_t i = 0; i < u->pairs; i++) {
    const ck_gemm *pair = &u->gate_up[2 * i];
    if (*pair->rows == 0) continue;
    const int64_t panels = (pair->columns + CK_PANEL - 1) / CK_PANEL;
    const int64_t units = (panels + u->unit_panels - 1) / u->unit_panels;
    for (; unit < first + units; unit = ck_claim(worker)) {
      const int64_t panel = spread(unit - first, units, threads) * u->unit_panels;
      const int64_t end = panel + u->unit_panels < panels ? panel + u->unit_panels : panels;
      run_gated_unit(u, pair, panel, end, worker->scratch);
    }
    first += units;
  }
}
