// SPDX-License-Identifier: Apache-2.0

/// A proto file as data, for reflection.
package struct FileDescriptor: Hashable, Sendable {
  /// As other files import it: "silica/v1/inference.proto".
  package let name: String
  /// The files that it imports.
  package let dependencies: [String]
  /// Full names of what it defines: messages, enums, services and methods.
  package let symbols: [String]
  /// Its google.protobuf.FileDescriptorProto, without source positions and comments.
  package let serialized: [UInt8]

  package init(name: String, dependencies: [String], symbols: [String], serialized: [UInt8]) {
    self.name = name
    self.dependencies = dependencies
    self.symbols = symbols
    self.serialized = serialized
  }
}
