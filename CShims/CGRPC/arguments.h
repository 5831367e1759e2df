// SPDX-License-Identifier: Apache-2.0
// Channel arguments. Keys come from gRPC's macros only: some macros expand to another string than
// their name suggests, and C-core ignores an unknown key silently.
#pragma once
#include <grpc/grpc.h>

#define CGRPC_INTEGER_ARGUMENT(name, macro)          \
  static inline grpc_arg cgrpc_arg_##name(int value) { \
    grpc_arg argument = {0};                         \
    argument.type = GRPC_ARG_INTEGER;                \
    argument.key = (char *)(macro);                  \
    argument.value.integer = value;                  \
    return argument;                                 \
  }

CGRPC_INTEGER_ARGUMENT(allow_reuseport, GRPC_ARG_ALLOW_REUSEPORT)
CGRPC_INTEGER_ARGUMENT(bdp_probe, GRPC_ARG_HTTP2_BDP_PROBE)
CGRPC_INTEGER_ARGUMENT(enable_http_proxy, GRPC_ARG_ENABLE_HTTP_PROXY)
CGRPC_INTEGER_ARGUMENT(
    enable_per_message_decompression, GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION)
CGRPC_INTEGER_ARGUMENT(enable_retries, GRPC_ARG_ENABLE_RETRIES)
CGRPC_INTEGER_ARGUMENT(keepalive_permit_without_calls, GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS)
CGRPC_INTEGER_ARGUMENT(keepalive_time_ms, GRPC_ARG_KEEPALIVE_TIME_MS)
CGRPC_INTEGER_ARGUMENT(keepalive_timeout_ms, GRPC_ARG_KEEPALIVE_TIMEOUT_MS)
CGRPC_INTEGER_ARGUMENT(max_concurrent_streams, GRPC_ARG_MAX_CONCURRENT_STREAMS)
CGRPC_INTEGER_ARGUMENT(max_metadata_size, GRPC_ARG_MAX_METADATA_SIZE)
CGRPC_INTEGER_ARGUMENT(max_ping_strikes, GRPC_ARG_HTTP2_MAX_PING_STRIKES)
CGRPC_INTEGER_ARGUMENT(max_pings_without_data, GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA)
CGRPC_INTEGER_ARGUMENT(max_receive_message_length, GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH)
CGRPC_INTEGER_ARGUMENT(max_send_message_length, GRPC_ARG_MAX_SEND_MESSAGE_LENGTH)
CGRPC_INTEGER_ARGUMENT(
    min_recv_ping_interval_ms, GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS)
CGRPC_INTEGER_ARGUMENT(server_handshake_timeout_ms, GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS)
CGRPC_INTEGER_ARGUMENT(
    service_config_disable_resolution, GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION)
CGRPC_INTEGER_ARGUMENT(stream_lookahead_bytes, GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES)
CGRPC_INTEGER_ARGUMENT(tcp_max_read_chunk_size, GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE)
CGRPC_INTEGER_ARGUMENT(use_local_subchannel_pool, GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL)
CGRPC_INTEGER_ARGUMENT(write_buffer_size, GRPC_ARG_HTTP2_WRITE_BUFFER_SIZE)

// The name is copied by whoever takes the argument.
static inline grpc_arg cgrpc_arg_ssl_target_name_override(const char *name) {
  grpc_arg argument = {0};
  argument.type = GRPC_ARG_STRING;
  argument.key = (char *)GRPC_SSL_TARGET_NAME_OVERRIDE_ARG;
  argument.value.string = (char *)name;
  return argument;
}

// The quota must be unreferenced by its creator only after the arguments have been used.
static inline grpc_arg cgrpc_arg_resource_quota(grpc_resource_quota *quota) {
  grpc_arg argument = {0};
  argument.type = GRPC_ARG_POINTER;
  argument.key = (char *)GRPC_ARG_RESOURCE_QUOTA;
  argument.value.pointer.p = quota;
  argument.value.pointer.vtable = grpc_resource_quota_arg_vtable();
  return argument;
}
