// SPDX-License-Identifier: Apache-2.0
// Kernels for x86-64 with AVX-512 and its integer dot products (VNNI).
#if defined(__x86_64__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c"))), \
    apply_to = function)
#include "tiles_avx512vnni.h"
#define CK_SCORE_GROUPS(queries) ((queries) <= 2 ? 4 : (queries) <= 6 ? 2 : 1)
#define CK_LEVEL_NAME "avx512vnni"
#define CK_LEVEL_TABLE ck_kernels_avx512vnni
#include "body_table.h"
#pragma clang attribute pop
#endif
