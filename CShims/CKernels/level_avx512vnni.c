// SPDX-License-Identifier: Apache-2.0
// Kernels for x86-64 with AVX-512 and its integer dot products (VNNI).
#if defined(__x86_64__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c"))), \
    apply_to = function)
#define CK_HAS_FMA 1
#define CK_ROWS 6
#define CK_PANELS(rows) 4
#define CK_DOT CK_DOT_VNNI
#define CK_CODE_ROWS 10
#define CK_CODE_TILE 20
#define CK_ALONE_PANELS(rows) 1
#define CK_NIBBLE_ROWS 6
#define CK_BLOCK_ROWS 4
#define CK_BLOCK_PANELS(rows) 4
#define CK_NIBBLE_PANELS(rows) 2
#define CK_QUERIES 12
#define CK_VALUE_QUERIES 12
#define CK_SCORE_GROUPS(queries) ((queries) <= 2 ? 4 : (queries) <= 6 ? 2 : 1)
#define CK_LEVEL_NAME "avx512vnni"
#define CK_LEVEL_TABLE ck_kernels_avx512vnni
#include "body_table.h"
#pragma clang attribute pop
#endif
