// SPDX-License-Identifier: Apache-2.0
// Calls on gRPC's C core: as little work for each message as there can be. All of a call runs on
// the thread that drains its queue.
#pragma once
#include <grpc/grpc.h>

#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

uint64_t NowNanoseconds();

// A connection of its own, without a proxy. `arguments` are integers.
grpc_channel* OpenChannel(const std::string& target,
                          const std::vector<std::pair<const char*, int>>& arguments = {});

// Ends a queue on which nothing is under way.
void Destroy(grpc_completion_queue* queue);

// One call at a time; it can be opened again when it is over.
class Call {
 public:
  Call(grpc_channel* channel, grpc_completion_queue* queue) : channel_(channel), queue_(queue) {}
  virtual ~Call() { Reset(); }

  // Takes an event of the queue.
  static void Complete(const grpc_event& event);

  // Half-closes it, after what waits to be sent.
  void Close();
  void Cancel();

  // Whether messages are taken. What is not taken fills the window of HTTP/2.
  void SetReading(bool is_reading);

  // Whether no operation is under way.
  bool is_over() const { return pending_ == 0; }

 protected:
  void Open(const char* path);
  // Forgets a call that is over.
  void Reset();
  void Send(const std::string& bytes);
  bool is_open() const { return call_ != nullptr; }

  virtual void Received(const uint8_t* bytes, size_t size) = 0;
  // The call is over.
  virtual void Ended(grpc_status_code status, const std::string& details) = 0;

 private:
  enum Operation : uintptr_t { kSend, kClose, kInitialMetadata, kMessage, kStatus };

  void Read();
  void Post(const grpc_op* operations, size_t count, Operation operation);
  void Completed(Operation operation, bool ok);
  void Sent();
  void TakeMessage();

  grpc_channel* const channel_;
  grpc_completion_queue* const queue_;
  grpc_call* call_ = nullptr;
  grpc_byte_buffer* sending_ = nullptr;
  grpc_byte_buffer* message_ = nullptr;
  grpc_metadata_array initial_metadata_{};
  grpc_metadata_array trailing_metadata_{};
  grpc_status_code status_ = GRPC_STATUS_OK;
  grpc_slice status_details_{};
  std::deque<std::string> waiting_;
  bool closes_ = false;
  bool is_reading_ = true;
  bool reads_ = false;  // a read is under way
  int pending_ = 0;
};
