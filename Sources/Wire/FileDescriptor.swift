// SPDX-License-Identifier: Apache-2.0

/// A proto file as data, for reflection.
public struct FileDescriptor: Hashable, Sendable {
  /// As other files import it: "silica/v1/inference.proto".
  public let name: String
  /// The files that it imports.
  public let dependencies: [String]
  /// Full names of what it defines: messages, enums, services and methods.
  public let symbols: [String]
  /// Its google.protobuf.FileDescriptorProto, without source positions and comments.
  public let serialized: [UInt8]

  public init(name: String, dependencies: [String], symbols: [String], serialized: [UInt8]) {
    self.name = name
    self.dependencies = dependencies
    self.symbols = symbols
    self.serialized = serialized
  }
}
