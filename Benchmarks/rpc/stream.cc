// SPDX-License-Identifier: Apache-2.0
#include "stream.h"

#include <grpc/byte_buffer_reader.h>
#include <grpc/support/alloc.h>
#include <time.h>

#include <cstdio>
#include <cstdlib>

uint64_t NowNanoseconds() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1000000000u + static_cast<uint64_t>(time.tv_nsec);
}

Stream::~Stream() { Reset(); }

void Stream::Start(const Request& request, Tally* tally) {
  tally_ = tally;
  tokens_wanted_ = request.tokens;
  tokens_ = 0;
  last_delta_ = 0;
  is_running_ = true;
  ++generation_;
  if (method_ == Method::kGenerate) Reset();
  if (call_ == nullptr) Open();
  started_ = NowNanoseconds();
  Send(EncodeStart(method_, request, generation_, salt_));
  if (method_ == Method::kGenerate) Close();
}

void Stream::Open() {
  const char* path = method_ == Method::kSession ? "/silica.v1.Inference/Session"
                                                 : "/silica.v1.Inference/Generate";
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

void Stream::Reset() {
  if (call_ == nullptr) return;
  grpc_call_unref(call_);
  call_ = nullptr;
  grpc_metadata_array_destroy(&initial_metadata_);
  grpc_metadata_array_destroy(&trailing_metadata_);
  grpc_slice_unref(status_details_);
}

void Stream::Send(const std::string& bytes) {
  grpc_slice slice = grpc_slice_from_copied_buffer(bytes.data(), bytes.size());
  sending_ = grpc_raw_byte_buffer_create(&slice, 1);
  grpc_slice_unref(slice);
  grpc_op operation = {};
  operation.op = GRPC_OP_SEND_MESSAGE;
  operation.data.send_message.send_message = sending_;
  Post(&operation, 1, kSend);
}

void Stream::Close() {
  grpc_op operation = {};
  operation.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
  Post(&operation, 1, kClose);
}

void Stream::Read() {
  grpc_op operation = {};
  operation.op = GRPC_OP_RECV_MESSAGE;
  operation.data.recv_message.recv_message = &message_;
  Post(&operation, 1, kMessage);
}

void Stream::Post(const grpc_op* operations, size_t count, Operation operation) {
  // The stream's address is a multiple of 8, so the operation fits beside it.
  void* tag = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(this) | operation);
  const grpc_call_error code = grpc_call_start_batch(call_, operations, count, tag, nullptr);
  if (code != GRPC_CALL_OK) {
    std::fprintf(stderr, "client: %s\n", grpc_call_error_to_string(code));
    std::abort();
  }
  ++pending_;
}

void Stream::Complete(const grpc_event& event) {
  const auto tag = reinterpret_cast<uintptr_t>(event.tag);
  auto* stream = reinterpret_cast<Stream*>(tag & ~static_cast<uintptr_t>(7));
  stream->Completed(static_cast<Operation>(tag & 7), event.success != 0);
}

void Stream::Completed(Operation operation, bool ok) {
  --pending_;
  switch (operation) {
    case kSend:
      grpc_byte_buffer_destroy(sending_);
      sending_ = nullptr;
      break;
    case kMessage:
      if (ok && message_ != nullptr) Received();
      break;
    case kStatus:
      if (status_ != GRPC_STATUS_OK) {
        char* text = grpc_slice_to_c_string(status_details_);
        Fail("status " + std::to_string(status_) + ": " + text);
        gpr_free(text);
      }
      break;
    case kClose:
    case kInitialMetadata:
      break;
  }
  if (pending_ == 0) Ended();
}

void Stream::Received() {
  grpc_byte_buffer_reader reader;
  grpc_byte_buffer_reader_init(&reader, message_);
  const size_t size = grpc_byte_buffer_length(message_);
  grpc_slice* first = nullptr;
  if (grpc_byte_buffer_reader_peek(&reader, &first) && GRPC_SLICE_LENGTH(*first) == size) {
    Take(Decode(method_, GRPC_SLICE_START_PTR(*first), size), size);
  } else {
    grpc_byte_buffer_reader_destroy(&reader);
    grpc_byte_buffer_reader_init(&reader, message_);
    grpc_slice whole = grpc_byte_buffer_reader_readall(&reader);
    Take(Decode(method_, GRPC_SLICE_START_PTR(whole), size), size);
    grpc_slice_unref(whole);
  }
  grpc_byte_buffer_reader_destroy(&reader);
  grpc_byte_buffer_destroy(message_);
  message_ = nullptr;
  Read();
}

void Stream::Take(const Event& event, size_t size) {
  switch (event.kind) {
    case Event::kDelta: {
      const uint64_t now = NowNanoseconds();
      const uint64_t since = last_delta_ == 0 ? started_ : last_delta_;
      auto& times = last_delta_ == 0 ? tally_->first_us : tally_->gap_us;
      times.push_back(static_cast<uint32_t>((now - since) / 1000));
      last_delta_ = now;
      ++tally_->messages;
      tally_->bytes += size;
      tally_->tokens += event.tokens;
      tokens_ += event.tokens;
      break;
    }
    case Event::kFinished:
      if (tokens_ != tokens_wanted_) {
        Fail("a generation has " + std::to_string(tokens_) + " tokens");
      }
      // A call of its own ends with its status.
      if (method_ == Method::kSession) is_running_ = false;
      break;
    case Event::kFailed:
      Fail("a generation failed");
      is_running_ = false;
      break;
    case Event::kBroken:
      Fail("a message that is no protobuf");
      break;
    case Event::kOther:
      break;
  }
}

// The call is over; a session, by the wish of one side.
void Stream::Ended() {
  if (is_running_ && method_ == Method::kSession) Fail("the stream ended");
  is_running_ = false;
}

void Stream::Fail(const std::string& why) {
  if (tally_ == nullptr) return;
  ++tally_->errors;
  if (tally_->error.empty()) tally_->error = why;
}
