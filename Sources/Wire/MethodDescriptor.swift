// SPDX-License-Identifier: Apache-2.0

/// The name and kind of an RPC.
public struct MethodSignature: Hashable, Sendable {
  /// The full name of its service: "silica.v1.Inference".
  public let service: String
  /// Its own name: "Session".
  public let method: String
  /// Whether the client sends any number of messages, not exactly one.
  public let clientStreaming: Bool
  /// Whether the server answers with any number of messages, not exactly one.
  public let serverStreaming: Bool
  /// What HTTP/2 carries: "/silica.v1.Inference/Session".
  public let path: String

  public init(service: String, method: String, clientStreaming: Bool, serverStreaming: Bool) {
    self.service = service
    self.method = method
    self.clientStreaming = clientStreaming
    self.serverStreaming = serverStreaming
    path = "/\(service)/\(method)"
  }
}

/// An RPC with the types of its messages.
public struct MethodDescriptor<Request: Message, Response: Message>: Hashable, Sendable {
  public let signature: MethodSignature

  public init(_ signature: MethodSignature) { self.signature = signature }

  public var path: String { signature.path }
  public var service: String { signature.service }
  public var method: String { signature.method }
  public var clientStreaming: Bool { signature.clientStreaming }
  public var serverStreaming: Bool { signature.serverStreaming }
}
