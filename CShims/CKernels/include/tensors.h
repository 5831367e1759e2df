// SPDX-License-Identifier: Apache-2.0
// Matrices as checkpoints store them.
#pragma once
#include <stdint.h>

/// W8 and W4 are forms of packed matrices only: codes with scales (see `ck_gemm`). INT8 and INT4
/// are codes that a checkpoint holds: of a tensor as `ck_stored_codes` says, of a packed matrix
/// the same codes in panels.
typedef enum { CK_F32, CK_F16, CK_BF16, CK_FP8, CK_W8, CK_W4, CK_INT8, CK_INT4 } ck_type;

/// Where the integers of a matrix lie: one after the other, or several rows (or columns) of a
/// column (or row) in a word of 32 bits. Row `r`, column `c` is in the word `r >> row_shift`,
/// `c >> column_shift`, of which the other bits choose the element. Places and strides are in half
/// bytes. An integer is `(stored + bias) & mask`.
typedef struct {
  const uint8_t *bytes;
  int64_t row_stride, column_stride;
  int32_t row_shift, column_shift;
  /// The place of element `i` of a word: half byte `i` of this.
  uint32_t order;
  /// Of a stored integer: 4 or 8.
  uint8_t bits;
  uint8_t bias, mask;
} ck_grid;

/// Element `n`, `k` is `scale * (code - zero)`, scale and zero being those of row `n`, group `g` of
/// columns: `k / group`, or `column_groups[k]` where that is not NULL.
typedef struct {
  ck_grid codes;
  /// Without `bytes`, every zero is `zero`.
  ck_grid zeros;
  int32_t zero;
  /// CK_F32, CK_F16 or CK_BF16; strides in elements.
  ck_type scale_type;
  const void *scales;
  int64_t scale_row_stride, scale_group_stride;
  int64_t group;
  const int32_t *column_groups;
} ck_stored_codes;

/// A stored matrix, row-major. `scales` may be NULL; else one scale for each block. INT8 and INT4
/// are all in `codes`.
typedef struct {
  const void *bytes;
  ck_type type;
  int64_t columns;
  const float *scales;
  int64_t block_rows, block_columns, blocks_per_row;
  ck_stored_codes codes;
} ck_tensor;

/// Converts `count` elements of a row to f32, exactly but for the product with the block's scale.
void ck_convert(const ck_tensor *tensor, int64_t row, int64_t column, int64_t count, float *out);

/// The integers of a row from a column on.
void ck_read_integers(
    const ck_grid *grid, int64_t row, int64_t column, int64_t count, uint8_t *out);
/// Of a row and a group of columns.
float ck_code_scale(const ck_stored_codes *codes, int64_t row, int64_t group);
int32_t ck_code_zero(const ck_stored_codes *codes, int64_t row, int64_t group);
