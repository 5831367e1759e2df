// SPDX-License-Identifier: Apache-2.0

internal import CGRPC

/// How a server proves itself to its clients.
package enum ServerCredentials: Sendable {
  /// Plain HTTP/2.
  case insecure

  /// An owned C object; the caller releases it.
  func makeHandle() -> OpaquePointer? {
    switch self {
    case .insecure: grpc_insecure_server_credentials_create()
    }
  }
}

/// How a client checks its server.
package enum ChannelCredentials: Sendable {
  /// Plain HTTP/2.
  case insecure

  /// An owned C object; the caller releases it.
  func makeHandle() -> OpaquePointer? {
    switch self {
    case .insecure: grpc_insecure_credentials_create()
    }
  }
}
