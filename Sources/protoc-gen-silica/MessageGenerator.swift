// SPDX-License-Identifier: Apache-2.0

/// Prints a message: its properties, the types nested in it, and its coding.
struct MessageGenerator {
  let message: Google_Protobuf_DescriptorProto
  /// ".silica.v1.Delta"
  let name: String
  /// Of the declaration, without the types around it.
  let swiftName: String
  let path: [Int32]
  let comments: Comments
  let schema: Schema
  let fields: [Field]

  init(
    _ message: Google_Protobuf_DescriptorProto, name: String, swiftName: String, path: [Int32],
    comments: Comments, schema: Schema
  ) throws(Refusal) {
    self.message = message
    self.name = name
    self.swiftName = swiftName
    self.path = path
    self.comments = comments
    self.schema = schema
    var fields: [Field] = []
    for (index, field) in message.field.enumerated() {
      fields.append(try Field(field, index: index, of: name, schema: schema))
    }
    self.fields = fields
  }

  func print(to printer: inout Printer) throws(Refusal) {
    printer.lines(comments.documentation(path))
    try printer.block("package struct \(swiftName): Message") { printer throws(Refusal) in
      printProperties(to: &printer)
      printer.line("package init() {}")
      try printNestedTypes(to: &printer)
      printNames(to: &printer)
      printCoding(to: &printer)
    }
  }

  private func printNestedTypes(to printer: inout Printer) throws(Refusal) {
    for (index, type) in message.enumType.enumerated() {
      printer.line()
      EnumGenerator(
        type: type, swiftName: SwiftName.type(type.name), path: path + [4, Int32(index)],
        comments: comments
      ).print(to: &printer)
    }
    for (index, nested) in message.nestedType.enumerated() where !nested.options.mapEntry {
      printer.line()
      try MessageGenerator(
        nested, name: "\(name).\(nested.name)", swiftName: SwiftName.type(nested.name),
        path: path + [3, Int32(index)], comments: comments, schema: schema
      ).print(to: &printer)
    }
  }

  private func printNames(to printer: inout Printer) {
    printer.line()
    printer.line("package static let messageName = \(quoted(String(name.dropFirst())))")
    let names = fields.map { "\($0.number): \(quoted($0.protoName))" }
    let header = "package static let fieldNames: KeyValuePairs<UInt32, String> = ["
    if names.isEmpty {
      printer.line(header + ":]")
    } else {
      printer.list(header, names, end: "]")
    }
  }

  /// The oneofs that the proto file names; those of `optional` fields are protoc's own.
  var oneofs: [(index: Int, name: String, type: String, fields: [Field])] {
    message.oneofDecl.enumerated().compactMap { index, oneof in
      let members = fields.filter {
        if case .oneof(index, _) = $0.presence { true } else { false }
      }
      let type = "OneOf_" + SwiftName.upperCamel(oneof.name)
      return members.isEmpty ? nil : (index, SwiftName.field(oneof.name), type, members)
    }
  }
}
