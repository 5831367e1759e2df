// SPDX-License-Identifier: Apache-2.0

/// The name and kind of an RPC.
package struct MethodSignature: Hashable, Sendable {
  /// The full name of its service: "silica.v1.Inference".
  package let service: String
  /// Its own name: "Session".
  package let method: String
  /// Whether the client sends any number of messages, not exactly one.
  package let clientStreaming: Bool
  /// Whether the server answers with any number of messages, not exactly one.
  package let serverStreaming: Bool
  /// What HTTP/2 carries: "/silica.v1.Inference/Session".
  package let path: String

  package init(service: String, method: String, clientStreaming: Bool, serverStreaming: Bool) {
    self.service = service
    self.method = method
    self.clientStreaming = clientStreaming
    self.serverStreaming = serverStreaming
    path = "/\(service)/\(method)"
  }
}

/// An RPC with the types of its messages.
package struct MethodDescriptor<Request: Message, Response: Message>: Hashable, Sendable {
  package let signature: MethodSignature

  package init(_ signature: MethodSignature) { self.signature = signature }

  package var path: String { signature.path }
  package var service: String { signature.service }
  package var method: String { signature.method }
  package var clientStreaming: Bool { signature.clientStreaming }
  package var serverStreaming: Bool { signature.serverStreaming }
}
