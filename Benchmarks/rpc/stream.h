// SPDX-License-Identifier: Apache-2.0
// Generations of the load client, and what they gather.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "call.h"
#include "frame.h"

// What a phase of the measurement gathers from all streams.
struct Tally {
  uint64_t messages = 0;  // deltas
  uint64_t tokens = 0;
  uint64_t bytes = 0;  // of messages with deltas
  uint64_t errors = 0;
  std::vector<uint32_t> first_us;  // from a start to its first delta
  std::vector<uint32_t> gap_us;    // from one delta of a stream to the next
  std::string error;               // the first one

  void Fail(const std::string& why);
};

// The value that this part of all values does not exceed; 0 if there are none. Reorders them.
uint32_t Percentile(std::vector<uint32_t>& values, double part);

// Fit for a string in JSON.
std::string Plain(std::string text);

// One stream: a `Session` that stays open for one generation after another, or a `Generate` call
// for each of them.
class Stream : public Call {
 public:
  Stream(Method method, grpc_channel* channel, grpc_completion_queue* queue, uint32_t salt)
      : Call(channel, queue), method_(method), salt_(salt) {}

  // Starts the next generation.
  void Start(const Request& request, Tally* tally);

  // Where what follows is gathered.
  void SetTally(Tally* tally) { tally_ = tally; }

  // Whether the generation has come to its end.
  bool is_idle() const { return !is_running_; }

 private:
  void Received(const uint8_t* bytes, size_t size) override;
  void Ended(grpc_status_code status, const std::string& details) override;

  const Method method_;
  const uint32_t salt_;
  uint32_t generation_ = 0;
  bool is_running_ = false;
  uint64_t started_ = 0;
  uint64_t last_delta_ = 0;
  uint32_t tokens_wanted_ = 0;
  uint32_t tokens_ = 0;
  Tally* tally_ = nullptr;
};
