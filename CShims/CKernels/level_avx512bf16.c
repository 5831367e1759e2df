// SPDX-License-Identifier: Apache-2.0
// Kernels for x86-64 with AVX-512, its integer dot products (VNNI) and its products of bfloat16
// pairs: what is kept in bf16 is multiplied with bf16, twice as fast as with f32.
#if defined(__x86_64__)
#pragma clang attribute push( \
    __attribute__((target( \
        "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c"))), \
    apply_to = function)
#include "tiles_avx512vnni.h"
#define CK_BF16_PAIRS 1
#define CK_SCORE_GROUPS(queries) ((queries) <= 4 ? 4 : 2)
#define CK_LEVEL_NAME "avx512bf16"
#define CK_LEVEL_TABLE ck_kernels_avx512bf16
#include "body_table.h"
#pragma clang attribute pop
#endif
