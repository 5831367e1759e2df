// SPDX-License-Identifier: Apache-2.0
// The kernels of one level; included once by each level, after its macros:
// CK_HAS_FMA; of f32 products CK_ROWS (rows of a register tile) and CK_PANELS(rows) (panels of it).
// Of products of codes: CK_DOT (how four bytes are multiplied); CK_CODE_ROWS, rows of a tile that
// is alone, and CK_ALONE_PANELS(rows), panels of it; CK_BLOCK_ROWS and CK_BLOCK_PANELS(rows) of one
// beside others; of weights in nibbles CK_NIBBLE_ROWS for both, CK_NIBBLE_PANELS(rows) beside
// others; CK_CODE_TILE, the most accumulators that all of these make.
// Of attention: CK_QUERIES (queries of a register tile), CK_SCORE_GROUPS(queries) (groups of keys
// of it), CK_VALUE_QUERIES (queries of a tile with 32 elements of values).
#include "body_gated.h"
#include "body_attention.h"
#include "body_quantize.h"
#include "body_rows.h"
#include "levels.h"

const ck_kernels CK_LEVEL_TABLE = {
  .name = CK_LEVEL_NAME,
  .gemms = run_gemms,
  .gated = run_gated,
  .quantize = run_quantize,
  .norm = run_norm,
  .attention = run_attention,
  .swiglu = run_swiglu,
  .add = run_add,
  .rope = run_rope,
  .combine = run_combine,
  .largest = run_largest,
  .read = run_read,
};
