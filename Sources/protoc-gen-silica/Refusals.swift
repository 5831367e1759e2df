// SPDX-License-Identifier: Apache-2.0

/// Stops at what the wire runtime does not carry, and names it.
func refuseUnsupported(_ file: Google_Protobuf_FileDescriptorProto) throws(Refusal) {
  guard file.syntax == "proto3" else {
    let found = file.syntax.isEmpty ? "proto2" : file.syntax
    throw Refusal(message: "\(file.name): syntax is \(found); only proto3 is supported")
  }
  if let field = file.extension.first {
    throw Refusal(message: "\(file.name): extension '\(field.name)' is not supported")
  }
  let package = file.package.isEmpty ? "" : file.package + "."
  for message in file.messageType { try refuseUnsupported(message, package, file.name) }
}

private func refuseUnsupported(
  _ message: Google_Protobuf_DescriptorProto, _ prefix: String, _ file: String
) throws(Refusal) {
  let name = prefix + message.name
  if let field = message.extension.first {
    throw Refusal(message: "\(file): extension '\(name).\(field.name)' is not supported")
  }
  guard message.extensionRange.isEmpty else {
    throw Refusal(message: "\(file): message '\(name)' has extension ranges; not supported")
  }
  for field in message.field where field.type == .group || field.label == .required {
    let found = field.type == .group ? "a group" : "required"
    throw Refusal(message: "\(file): field '\(name).\(field.name)' is \(found); not supported")
  }
  for nested in message.nestedType { try refuseUnsupported(nested, name + ".", file) }
}
