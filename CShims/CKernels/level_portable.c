// SPDX-License-Identifier: Apache-2.0
// Kernels for any processor that clang knows (SSE2, NEON).
#if defined(__aarch64__)
#define CK_HAS_FMA 1
#define CK_ROWS 4
#define CK_QUERIES 4
#define CK_VALUE_QUERIES 2
#else
#define CK_HAS_FMA 0
#define CK_ROWS 2
#define CK_QUERIES 2
#define CK_VALUE_QUERIES 1
#endif
#define CK_PANELS(rows) 1
#define CK_DOT CK_DOT_PLAIN
#define CK_CODE_ROWS 2
#define CK_CODE_TILE 2
#define CK_ALONE_PANELS(rows) 1
#define CK_NIBBLE_ROWS 2
#define CK_BLOCK_ROWS 2
#define CK_BLOCK_PANELS(rows) 1
#define CK_NIBBLE_PANELS(rows) 1
#define CK_SCORE_GROUPS(queries) 1
#define CK_LEVEL_NAME "portable"
#define CK_LEVEL_TABLE ck_kernels_portable
#include "body_table.h"
