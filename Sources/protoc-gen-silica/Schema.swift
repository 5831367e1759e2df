// SPDX-License-Identifier: Apache-2.0

/// The messages and enums of all files of a request, by their full names with a leading dot.
struct Schema {
  private(set) var swiftNames: [String: String] = [:]
  private(set) var messages: [String: Google_Protobuf_DescriptorProto] = [:]

  mutating func add(_ file: Google_Protobuf_FileDescriptorProto) {
    let scope = file.package.isEmpty ? "" : "." + file.package
    let prefix = SwiftName.prefix(package: file.package)
    for type in file.enumType { swiftNames["\(scope).\(type.name)"] = prefix + type.name }
    for message in file.messageType { add(message, scope, prefix) }
  }

  private mutating func add(
    _ message: Google_Protobuf_DescriptorProto, _ scope: String, _ prefix: String
  ) {
    let name = "\(scope).\(message.name)"
    let swiftName = prefix + (prefix.hasSuffix("_") ? message.name : SwiftName.type(message.name))
    messages[name] = message
    swiftNames[name] = swiftName
    for type in message.enumType {
      swiftNames["\(name).\(type.name)"] = "\(swiftName).\(SwiftName.type(type.name))"
    }
    for nested in message.nestedType { add(nested, name, swiftName + ".") }
  }

  /// The Swift type of a name that protoc resolved.
  func swiftName(_ name: String) throws(Refusal) -> String {
    guard let swiftName = swiftNames[name] else {
      throw Refusal(message: "protoc sent no definition of \(name)")
    }
    return swiftName
  }

  /// Whether a message that is stored in a `message` can hold a `message` again, through fields
  /// that Swift stores in place: singular messages and oneofs, not arrays and dictionaries.
  func contains(_ message: String, in field: Google_Protobuf_FieldDescriptorProto) -> Bool {
    var pending = isInPlace(field) ? [field.typeName] : []
    var seen: Set<String> = []
    while let name = pending.popLast() {
      if name == message { return true }
      guard seen.insert(name).inserted else { continue }
      pending += (messages[name]?.field ?? []).filter(isInPlace).map(\.typeName)
    }
    return false
  }

  private func isInPlace(_ field: Google_Protobuf_FieldDescriptorProto) -> Bool {
    field.type == .message && field.label != .repeated
  }
}
