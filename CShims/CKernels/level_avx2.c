// SPDX-License-Identifier: Apache-2.0
// Kernels for x86-64 with AVX2 and FMA: a vector of 16 floats is two registers of 16.
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#define CK_HAS_FMA 1
#define CK_ROWS 6
#define CK_PANELS(rows) ((rows) == 1 ? 4 : (rows) <= 3 ? 2 : 1)
#define CK_DOT CK_DOT_PAIRS_256
#define CK_CODE_ROWS 2
#define CK_CODE_TILE 2
#define CK_ALONE_PANELS(rows) 1
#define CK_NIBBLE_ROWS 2
#define CK_BLOCK_ROWS 2
#define CK_BLOCK_PANELS(rows) 1
#define CK_NIBBLE_PANELS(rows) 1
#define CK_QUERIES 4
#define CK_VALUE_QUERIES 2
#define CK_SCORE_GROUPS(queries) 1
#define CK_LEVEL_NAME "avx2"
#define CK_LEVEL_TABLE ck_kernels_avx2
#include "body_table.h"
#pragma clang attribute pop
#endif
