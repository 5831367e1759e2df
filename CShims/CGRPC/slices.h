// SPDX-License-Identifier: Apache-2.0
// Slices keep up to 23 bytes inside themselves, so their bytes are reached through a pointer to the
// slice, never through a copy of it.
#pragma once
#include <grpc/slice.h>

static inline uint8_t *cgrpc_slice_bytes(grpc_slice *slice) {
  return GRPC_SLICE_START_PTR(*slice);
}

static inline size_t cgrpc_slice_length(const grpc_slice *slice) {
  return GRPC_SLICE_LENGTH(*slice);
}
