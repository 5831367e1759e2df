// SPDX-License-Identifier: Apache-2.0
// What Silica counts of itself.
#pragma once
#include <grpc/grpc.h>

#include <cstdint>

// From the end of a step to the moment at which C-core is given a message of it.
struct SendLatency {
  uint64_t count = 0;
  uint64_t p50_us = 0;
  uint64_t p90_us = 0;
  uint64_t p99_us = 0;
  uint64_t max_us = 0;
};

// Asks the server of `channel` by `GetStatistics`; takes the events of `queue`, on which nothing
// else is under way. All 0 if the server does not know.
SendLatency AskSendLatency(grpc_channel* channel, grpc_completion_queue* queue);
