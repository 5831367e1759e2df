// SPDX-License-Identifier: Apache-2.0

internal import CGRPC

/// A client's connection to one server, made when the first call needs it and remade when it
/// breaks. Safe from any thread; it goes when the last reference goes, that of its calls included.
package final class Channel: @unchecked Sendable {  // C-core's channels are made for sharing
  package let target: String
  /// The poller of all calls of this channel. Other channels may use it too; its owner stops it.
  package let poller: Poller
  let limits: RPCLimits
  let handle: OpaquePointer

  /// Does not block and does not fail: a server that is not there fails the calls.
  package init(
    to address: Address, poller: Poller, credentials: ChannelCredentials = .insecure,
    limits: RPCLimits = RPCLimits()
  ) {
    grpc_init()
    target = address.description
    self.poller = poller
    self.limits = limits
    var arguments = [
      // A connection of its own, not one shared with other channels of the process.
      cgrpc_arg_use_local_subchannel_pool(1),
      // A call that failed is the caller's to repeat.
      cgrpc_arg_enable_retries(0),
      cgrpc_arg_enable_http_proxy(0),
      cgrpc_arg_service_config_disable_resolution(1),
    ]
    arguments += limits.sharedArguments
    guard let handle = Self.makeHandle(address, credentials, arguments) else {
      preconditionFailure("C-core gave no channel")
    }
    self.handle = handle
  }

  private static func makeHandle(
    _ address: Address, _ credentials: ChannelCredentials, _ shared: [grpc_arg]
  ) -> OpaquePointer? {
    var serverName: [CChar] = []
    if case .tls(let options) = credentials, let name = options.serverName {
      serverName = Array(name.utf8CString)
    }
    let security = credentials.makeHandle()
    defer { grpc_channel_credentials_release(security) }
    return serverName.withUnsafeBufferPointer { name in
      var arguments = shared
      if let start = name.baseAddress, !name.isEmpty {
        arguments.append(cgrpc_arg_ssl_target_name_override(start))
      }
      return arguments.withUnsafeMutableBufferPointer { buffer in
        var list = grpc_channel_args(num_args: buffer.count, args: buffer.baseAddress)
        return grpc_channel_create(address.description, security, &list)
      }
    }
  }

  deinit {
    grpc_channel_destroy(handle)
    grpc_shutdown()
  }
}
