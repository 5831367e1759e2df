// SPDX-License-Identifier: Apache-2.0
// gRPC C-core, and the few things of it that Swift cannot see or says at length: slice macros,
// operation unions, argument macros. No policy, no allocation.
#pragma once
// First, so that glibc's feature macros are settled before gRPC's headers define _GNU_SOURCE: with
// it <sys/select.h> names a field of fd_set otherwise than in Swift's Glibc module, and Clang
// refuses to load the two modules side by side.
#include <stdint.h>

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/status.h>
#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>

#include "arguments.h"
#include "operations.h"
#include "slices.h"
