// SPDX-License-Identifier: Apache-2.0
// Register tiles of the levels with AVX-512 VNNI: 32 registers, a dot product of bytes in one
// instruction.
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
