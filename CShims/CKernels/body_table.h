// SPDX-License-Identifier: Apache-2.0
// The kernels of one level; included once by each level, after its macros:
// CK_HAS_FMA, CK_ROWS (rows of a register tile), CK_PANELS(rows) (panels of it), CK_KEYS (keys that
// attention multiplies at once).
#include "body_gemm.h"
#include "body_attention.h"
#include "body_rows.h"
#include "levels.h"

const ck_kernels CK_LEVEL_TABLE = {
  .name = CK_LEVEL_NAME,
  .gemms = run_gemms,
  .norm = run_norm,
  .attention = run_attention,
  .swiglu = run_swiglu,
  .add = run_add,
  .rope = run_rope,
  .combine = run_combine,
  .read = run_read,
};
