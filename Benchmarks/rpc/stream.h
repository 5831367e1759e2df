// SPDX-License-Identifier: Apache-2.0
// Calls of the load client, on gRPC's C core: as little work for each message as there can be, so
// that the server is what is measured.
#pragma once
#include <grpc/grpc.h>

#include <cstdint>
#include <string>
#include <vector>

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
};

uint64_t NowNanoseconds();

// One stream: a `Session` that stays open for one generation after another, or a `Generate` call
// for each of them. All of it runs on the thread that drains the queue.
class Stream {
 public:
  Stream(Method method, grpc_channel* channel, grpc_completion_queue* queue, uint32_t salt)
      : method_(method), channel_(channel), queue_(queue), salt_(salt) {}
  ~Stream();

  // Starts the next generation.
  void Start(const Request& request, Tally* tally);

  // Half-closes a session; it is over when the server has ended it.
  void Close();

  // Takes an event of the queue.
  static void Complete(const grpc_event& event);

  // Whether the generation has come to its end.
  bool is_idle() const { return !is_running_; }
  // Whether no operation is under way.
  bool is_over() const { return pending_ == 0; }

 private:
  enum Operation : uintptr_t { kSend, kClose, kInitialMetadata, kMessage, kStatus };

  void Open();
  void Reset();
  void Send(const std::string& bytes);
  void Read();
  void Post(const grpc_op* operations, size_t count, Operation operation);
  void Completed(Operation operation, bool ok);
  void Received();
  void Take(const Event& event, size_t size);
  void Ended();
  void Fail(const std::string& why);

  const Method method_;
  grpc_channel* const channel_;
  grpc_completion_queue* const queue_;
  const uint32_t salt_;
  grpc_call* call_ = nullptr;
  grpc_byte_buffer* sending_ = nullptr;
  grpc_byte_buffer* message_ = nullptr;
  grpc_metadata_array initial_metadata_{};
  grpc_metadata_array trailing_metadata_{};
  grpc_status_code status_ = GRPC_STATUS_OK;
  grpc_slice status_details_{};
  uint32_t generation_ = 0;
  int pending_ = 0;
  bool is_running_ = false;
  uint64_t started_ = 0;
  uint64_t last_delta_ = 0;
  uint32_t tokens_wanted_ = 0;
  uint32_t tokens_ = 0;
  Tally* tally_ = nullptr;
};
