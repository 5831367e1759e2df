// SPDX-License-Identifier: Apache-2.0
#include "call.h"

#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <time.h>

#include <cstdio>
#include <cstdlib>

uint64_t NowNanoseconds() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1000000000u + static_cast<uint64_t>(time.tv_nsec);
}

grpc_channel* OpenChannel(const std::string& target,
                          const std::vector<std::pair<const char*, int>>& arguments) {
  std::vector<std::pair<const char*, int>> all = arguments;
  all.emplace_back(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  all.emplace_back(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  std::vector<grpc_arg> list(all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    list[i].type = GRPC_ARG_INTEGER;
    list[i].key = const_cast<char*>(all[i].first);
    list[i].value.integer = all[i].second;
  }
  const grpc_channel_args given = {list.size(), list.data()};
  grpc_channel_credentials* credentials = grpc_insecure_credentials_create();
  grpc_channel* channel = grpc_channel_create(target.c_str(), credentials, &given);
  grpc_channel_credentials_release(credentials);
  return channel;
}

void Destroy(grpc_completion_queue* queue) {
  grpc_completion_queue_shutdown(queue);
  while (grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), nullptr).type !=
         GRPC_QUEUE_SHUTDOWN) {
  }
  grpc_completion_queue_destroy(queue);
}

void Call::Open(const char* path) {
  closes_ = false;
  is_reading_ = true;
  call_ = grpc_channel_create_call(channel_, nullptr, GRPC_PROPAGATE_DEFAULTS, queue_,
                                   grpc_slice_from_static_string(path), nullptr,
                                   gpr_inf_future(GPR_CLOCK_MONOTONIC), nullptr);
  grpc_metadata_array_init(&initial_metadata_);
  grpc_metadata_array_init(&trailing_metadata_);
  status_details_ = grpc_empty_slice();
  grpc_op operations[2] = {};
  operations[0].op = GRPC_OP_SEND_INITIAL_METADATA;
  operations[1].op = GRPC_OP_RECV_INITIAL_METADATA;
  operations[1].data.recv_initial_metadata.recv_initial_metadata = &initial_metadata_;
  Post(operations, 2, kInitialMetadata);
  grpc_op end = {};
  end.op = GRPC_OP_RECV_STATUS_ON_CLIENT;
  end.data.recv_status_on_client.trailing_metadata = &trailing_metadata_;
  end.data.recv_status_on_client.status = &status_;
  end.data.recv_status_on_client.status_details = &status_details_;
  Post(&end, 1, kStatus);
  Read();
}

void Call::Reset() {
  if (call_ == nullptr) return;
  grpc_call_unref(call_);
  call_ = nullptr;
  waiting_.clear();
  grpc_metadata_array_destroy(&initial_metadata_);
  grpc_metadata_array_destroy(&trailing_metadata_);
  grpc_slice_unref(status_details_);
}

void Call::Send(const std::string& bytes) {
  if (sending_ != nullptr) {
    waiting_.push_back(bytes);
    return;
  }
  grpc_slice slice = grpc_slice_from_copied_buffer(bytes.data(), bytes.size());
  sending_ = grpc_raw_byte_buffer_create(&slice, 1);
  grpc_slice_unref(slice);
  grpc_op operation = {};
  operation.op = GRPC_OP_SEND_MESSAGE;
  operation.data.send_message.send_message = sending_;
  Post(&operation, 1, kSend);
}

void Call::Sent() {
  grpc_byte_buffer_destroy(sending_);
  sending_ = nullptr;
  if (!waiting_.empty()) {
    Send(waiting_.front());
    waiting_.pop_front();
  } else if (closes_) {
    Close();
  }
}

void Call::Close() {
  closes_ = sending_ != nullptr;
  if (closes_) return;
  grpc_op operation = {};
  operation.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
  Post(&operation, 1, kClose);
}

void Call::Cancel() { grpc_call_cancel(call_, nullptr); }

void Call::SetReading(bool is_reading) {
  is_reading_ = is_reading;
  if (is_reading && !reads_) Read();
}

void Call::Read() {
  grpc_op operation = {};
  operation.op = GRPC_OP_RECV_MESSAGE;
  operation.data.recv_message.recv_message = &message_;
  Post(&operation, 1, kMessage);
  reads_ = true;
}

void Call::Post(const grpc_op* operations, size_t count, Operation operation) {
  // The call's address is a multiple of 8, so the operation fits beside it.
  void* tag = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(this) | operation);
  const grpc_call_error code = grpc_call_start_batch(call_, operations, count, tag, nullptr);
  if (code != GRPC_CALL_OK) {
    std::fprintf(stderr, "client: %s\n", grpc_call_error_to_string(code));
    std::abort();
  }
  ++pending_;
}

void Call::Complete(const grpc_event& event) {
  const auto tag = reinterpret_cast<uintptr_t>(event.tag);
  auto* call = reinterpret_cast<Call*>(tag & ~static_cast<uintptr_t>(7));
  call->Completed(static_cast<Operation>(tag & 7), event.success != 0);
}

void Call::Completed(Operation operation, bool ok) {
  --pending_;
  switch (operation) {
    case kSend:
      Sent();
      break;
    case kMessage:
      reads_ = false;
      if (ok && message_ != nullptr) TakeMessage();
      break;
    case kClose:
    case kInitialMetadata:
    case kStatus:
      break;
  }
  if (pending_ > 0) return;
  char* text = grpc_slice_to_c_string(status_details_);
  const std::string details = text;
  gpr_free(text);
  Ended(status_, details);
}

void Call::TakeMessage() {
  grpc_byte_buffer_reader reader;
  grpc_byte_buffer_reader_init(&reader, message_);
  const size_t size = grpc_byte_buffer_length(message_);
  grpc_slice* first = nullptr;
  if (grpc_byte_buffer_reader_peek(&reader, &first) && GRPC_SLICE_LENGTH(*first) == size) {
    Received(GRPC_SLICE_START_PTR(*first), size);
  } else {
    grpc_byte_buffer_reader_destroy(&reader);
    grpc_byte_buffer_reader_init(&reader, message_);
    grpc_slice whole = grpc_byte_buffer_reader_readall(&reader);
    Received(GRPC_SLICE_START_PTR(whole), size);
    grpc_slice_unref(whole);
  }
  grpc_byte_buffer_reader_destroy(&reader);
  grpc_byte_buffer_destroy(message_);
  message_ = nullptr;
  if (is_reading_ && !reads_) Read();
}
