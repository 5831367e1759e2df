// SPDX-License-Identifier: Apache-2.0
// gRPC C-core, and the few things of it that Swift cannot see or says at length: slice macros,
// operation unions, argument macros. No policy, no allocation.
#pragma once
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
