// SPDX-License-Identifier: Apache-2.0

internal import CGRPC
internal import Glibc
internal import Support

/// Makes a C-core server that is bound to its ports.
enum ServerListener {
  static func listen(
    _ configuration: ServerConfiguration, pollers: [Poller]
  ) throws(RPCError) -> (handle: OpaquePointer, addresses: [Address]) {
    for address in configuration.addresses { try PortProbe.check(address) }
    try ReceiveHook.watch(configuration.limits)
    guard let handle = makeServer(configuration.limits) else {
      throw RPCError(.internal, "C-core gave no server")
    }
    for poller in pollers { grpc_server_register_completion_queue(handle, poller.queue, nil) }
    do {
      return (handle, try bind(handle, configuration))
    } catch {
      discard(handle)
      throw error
    }
  }

  private static func bind(
    _ handle: OpaquePointer, _ configuration: ServerConfiguration
  ) throws(RPCError) -> [Address] {
    guard !configuration.addresses.isEmpty else {
      throw RPCError(.invalidArgument, "the server has no address to listen on")
    }
    var bound: [Address] = []
    for address in configuration.addresses {
      let credentials = configuration.credentials.makeHandle()
      defer { grpc_server_credentials_release(credentials) }
      let port = grpc_server_add_http2_port(handle, address.description, credentials)
      guard port != 0 else {
        throw RPCError(.unavailable, "cannot listen on \(address)")
      }
      bound.append(Address(host: address.host, port: UInt16(port)))
    }
    return bound
  }

  private static func makeServer(_ limits: RPCLimits) -> OpaquePointer? {
    let quota = grpc_resource_quota_create("server")
    defer { grpc_resource_quota_unref(quota) }
    grpc_resource_quota_resize(quota, limits.resourceQuotaBytes)
    var arguments = [
      cgrpc_arg_resource_quota(quota),
      cgrpc_arg_allow_reuseport(0),
      cgrpc_arg_max_concurrent_streams(Int32(limits.concurrentStreamsMax)),
      cgrpc_arg_server_handshake_timeout_ms(Int32(limits.handshakeMillisecondsMax)),
      cgrpc_arg_min_recv_ping_interval_ms(Int32(limits.pingIntervalMillisecondsMin)),
      // No number of pings is an offence: a quiet client may be waiting for a long prompt.
      cgrpc_arg_max_ping_strikes(0),
    ]
    arguments += limits.sharedArguments
    return arguments.withUnsafeMutableBufferPointer { buffer in
      var list = grpc_channel_args(num_args: buffer.count, args: buffer.baseAddress)
      return grpc_server_create(&list, nil)
    }
  }

  /// Frees a server that never started. C-core wants even that one shut down, and its word of it
  /// taken from a queue.
  private static func discard(_ handle: OpaquePointer) {
    let queue = grpc_completion_queue_create_for_pluck(nil)
    grpc_server_register_completion_queue(handle, queue, nil)
    grpc_server_shutdown_and_notify(handle, queue, nil)
    _ = grpc_completion_queue_pluck(queue, nil, gpr_inf_future(GPR_CLOCK_MONOTONIC), nil)
    grpc_server_destroy(handle)
    grpc_completion_queue_shutdown(queue)
    grpc_completion_queue_destroy(queue)
  }
}

extension RPCLimits {
  /// What servers and channels have in common.
  var sharedArguments: [grpc_arg] {
    let window = streamWindowBytes.map {
      [cgrpc_arg_stream_lookahead_bytes(Int32($0)), cgrpc_arg_bdp_probe(0)]
    }
    return (window ?? []) + [
      cgrpc_arg_max_receive_message_length(Int32(receiveMessageBytesMax)),
      cgrpc_arg_max_send_message_length(Int32(sendMessageBytesMax)),
      // C-core would decompress a message whole before it looks at its size.
      cgrpc_arg_enable_per_message_decompression(0),
      cgrpc_arg_max_metadata_size(Int32(metadataBytesMax)),
      cgrpc_arg_tcp_max_read_chunk_size(Int32(readChunkBytesMax)),
      cgrpc_arg_write_buffer_size(Int32(writeBufferBytes)),
      cgrpc_arg_keepalive_time_ms(Int32(keepaliveIntervalMilliseconds)),
      cgrpc_arg_keepalive_timeout_ms(Int32(keepaliveTimeoutMilliseconds)),
      cgrpc_arg_keepalive_permit_without_calls(1),
      cgrpc_arg_max_pings_without_data(0),
    ]
  }
}
