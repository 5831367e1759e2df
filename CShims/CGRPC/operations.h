// SPDX-License-Identifier: Apache-2.0
// The operations of a call's batches. Unused fields of a grpc_op must be zero.
#pragma once
#include <grpc/grpc.h>

// Where C-core writes the results of one call's pending operations. Lives on the heap beside the
// call object, because a result may be written at any time until the operation's event.
typedef struct cgrpc_call_slots {
  grpc_call *call;                          // owned: one reference
  grpc_call_details details;                // owned; server only
  grpc_metadata_array initial_metadata;     // array owned, elements owned by the call
  grpc_metadata_array trailing_metadata;    // array owned, elements owned by the call; client only
  grpc_byte_buffer *message;                // owned by us once its event is there
  grpc_status_code status;                  // client only
  grpc_slice status_message;                // owned; client only
  int cancelled;                            // server only
} cgrpc_call_slots;

static inline void cgrpc_call_slots_init(cgrpc_call_slots *slots) {
  *slots = (cgrpc_call_slots){0};
  grpc_call_details_init(&slots->details);
  grpc_metadata_array_init(&slots->initial_metadata);
  grpc_metadata_array_init(&slots->trailing_metadata);
  slots->status_message = grpc_empty_slice();
}

// The call itself must have been unreferenced, and no operation be pending.
static inline void cgrpc_call_slots_destroy(cgrpc_call_slots *slots) {
  grpc_call_details_destroy(&slots->details);
  grpc_metadata_array_destroy(&slots->initial_metadata);
  grpc_metadata_array_destroy(&slots->trailing_metadata);
  grpc_slice_unref(slots->status_message);
}

// The call's operations complete on `queue`; that there is a call is told on `door`.
static inline grpc_call_error cgrpc_server_request_call(
    grpc_server *server, cgrpc_call_slots *slots, grpc_completion_queue *queue,
    grpc_completion_queue *door, void *tag) {
  return grpc_server_request_call(
      server, &slots->call, &slots->details, &slots->initial_metadata, queue, door, tag);
}

static inline grpc_op cgrpc_op_send_initial_metadata(grpc_metadata *metadata, size_t count) {
  grpc_op op = {0};
  op.op = GRPC_OP_SEND_INITIAL_METADATA;
  op.data.send_initial_metadata.metadata = metadata;
  op.data.send_initial_metadata.count = count;
  return op;
}

static inline grpc_op cgrpc_op_send_message(grpc_byte_buffer *message) {
  grpc_op op = {0};
  op.op = GRPC_OP_SEND_MESSAGE;
  op.data.send_message.send_message = message;
  return op;
}

static inline grpc_op cgrpc_op_send_close(void) {
  grpc_op op = {0};
  op.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
  return op;
}

static inline grpc_op cgrpc_op_send_status(
    grpc_status_code status, grpc_slice *message, grpc_metadata *trailers, size_t count) {
  grpc_op op = {0};
  op.op = GRPC_OP_SEND_STATUS_FROM_SERVER;
  op.data.send_status_from_server.status = status;
  op.data.send_status_from_server.status_details = message;
  op.data.send_status_from_server.trailing_metadata = trailers;
  op.data.send_status_from_server.trailing_metadata_count = count;
  return op;
}

static inline grpc_op cgrpc_op_receive_initial_metadata(cgrpc_call_slots *slots) {
  grpc_op op = {0};
  op.op = GRPC_OP_RECV_INITIAL_METADATA;
  op.data.recv_initial_metadata.recv_initial_metadata = &slots->initial_metadata;
  return op;
}

static inline grpc_op cgrpc_op_receive_message(cgrpc_call_slots *slots) {
  grpc_op op = {0};
  op.op = GRPC_OP_RECV_MESSAGE;
  op.data.recv_message.recv_message = &slots->message;
  return op;
}

static inline grpc_op cgrpc_op_receive_status(cgrpc_call_slots *slots) {
  grpc_op op = {0};
  op.op = GRPC_OP_RECV_STATUS_ON_CLIENT;
  op.data.recv_status_on_client.trailing_metadata = &slots->trailing_metadata;
  op.data.recv_status_on_client.status = &slots->status;
  op.data.recv_status_on_client.status_details = &slots->status_message;
  return op;
}

static inline grpc_op cgrpc_op_receive_close(cgrpc_call_slots *slots) {
  grpc_op op = {0};
  op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
  op.data.recv_close_on_server.cancelled = &slots->cancelled;
  return op;
}
