// SPDX-License-Identifier: Apache-2.0

package import Wire

extension FileDescriptor {
  /// Every proto file that Silica serves or sends, each with all that it imports: what reflection
  /// answers from.
  package static let all: [FileDescriptor] = [
    .silicaV1Inference, .googleRpcStatus, .googleRpcErrorDetails, .googleProtobufAny,
    .googleProtobufDuration, .grpcHealthV1Health, .grpcReflectionV1Reflection,
  ]
}
