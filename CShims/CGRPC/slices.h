// SPDX-License-Identifier: Apache-2.0
// Slices keep up to 23 bytes inside themselves, so their bytes are reached through a pointer to the
// slice, never through a copy of it.
#pragma once
#include <grpc/byte_buffer.h>
#include <grpc/slice.h>

static inline uint8_t *cgrpc_slice_bytes(grpc_slice *slice) {
  return GRPC_SLICE_START_PTR(*slice);
}

// How the bytes of a received message are compressed.
static inline grpc_compression_algorithm cgrpc_compression(const grpc_byte_buffer *buffer) {
  return buffer->data.raw.compression;
}

static inline size_t cgrpc_slice_length(const grpc_slice *slice) {
  return GRPC_SLICE_LENGTH(*slice);
}
