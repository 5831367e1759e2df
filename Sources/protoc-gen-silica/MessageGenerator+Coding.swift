// SPDX-License-Identifier: Apache-2.0

extension MessageGenerator {
  /// The requirements of `Message`: fields in the order of their numbers.
  func printCoding(to printer: inout Printer) {
    let ordered = fields.sorted { $0.number < $1.number }
    printer.line()
    printSize(ordered, to: &printer)
    printer.line()
    printWrite(ordered, to: &printer)
    printer.line()
    printDecode(ordered, to: &printer)
  }

  private func printSize(_ ordered: [Field], to printer: inout Printer) {
    guard !ordered.isEmpty else {
      printer.line("package var encodedSize: Int { 0 }")
      return
    }
    printer.block("package var encodedSize: Int") { printer in
      printer.line("var size = 0")
      printEach(ordered, to: &printer) { field, function, value in
        let name = field.isMap ? "size" : "\(function)Size"
        return "size += \(field.codec).\(name)(\(value), tagSize: \(field.tagSize))"
      }
      printer.line("return size")
    }
  }

  private func printWrite(_ ordered: [Field], to printer: inout Printer) {
    guard !ordered.isEmpty else {
      printer.line("package func write(to writer: inout WireWriter) {}")
      return
    }
    printer.block("package func write(to writer: inout WireWriter)") { printer in
      printEach(ordered, to: &printer) { field, function, value in
        let name = field.isMap ? "write" : "write" + SwiftName.upperCamel(function)
        return "\(field.codec).\(name)(\(value), tag: \(field.tag), to: &writer)"
      }
    }
  }

  /// Prints a statement for each field, and for members of a oneof that follow each other one
  /// switch, so that one comparison passes over all of them.
  private func printEach(
    _ ordered: [Field], to printer: inout Printer,
    statement: (_ field: Field, _ function: String, _ value: String) -> String
  ) {
    var rest = ordered[...]
    while let field = rest.first {
      guard case .oneof(let index, _) = field.presence,
        let oneof = oneofs.first(where: { $0.index == index })
      else {
        printer.line(statement(field, field.codecFunction, field.storedValue))
        rest = rest.dropFirst()
        continue
      }
      let members = rest.prefix { if case .oneof(index, _) = $0.presence { true } else { false } }
      rest = rest.dropFirst(members.count)
      printer.line("switch \(SwiftName.escaped(oneof.name)) {")
      for member in members {
        printer.line("case .\(member.escapedName)(let value)?:")
        printer.indented { $0.line(statement(member, "present", "value")) }
      }
      printer.line(members.count == oneof.fields.count ? "case nil: break" : "default: break")
      printer.line("}")
    }
  }

  private func printDecode(_ ordered: [Field], to printer: inout Printer) {
    let header = "package mutating func decode(from reader: inout WireReader) throws(WireError)"
    printer.block(header) { printer in
      printer.block("while let tag = try reader.nextTag()") { printer in
        guard !ordered.isEmpty else {
          printer.line("try reader.skip(tag)")
          return
        }
        printer.line("switch tag {")
        for field in ordered { printCase(field, to: &printer) }
        printer.line("default: try reader.skip(tag)")
        printer.line("}")
      }
    }
  }

  private func printCase(_ field: Field, to printer: inout Printer) {
    let statements = decodeStatements(field)
    if statements.count == 1 {
      printer.line("case \(field.tag): \(statements[0])")
    } else {
      printer.line("case \(field.tag):")
      printer.indented { $0.lines(statements) }
    }
    guard let alternative = field.alternativeTag else { return }
    let isPacked = if case .packed = field.presence { true } else { false }
    let read = isPacked ? "readRepeated" : "readPacked"
    printer.line(
      "case \(alternative): try \(field.codec).\(read)(&\(field.selfName), from: &reader)")
  }

  private func decodeStatements(_ field: Field) -> [String] {
    func read(_ function: String, _ value: String) -> String {
      "try \(field.codec).\(function)(&\(value), from: &reader)"
    }
    switch field.presence {
    case .implicit, .map: return [read("read", field.selfName)]
    case .optional: return [read("readOptional", field.storage)]
    case .repeated: return [read("readRepeated", field.selfName)]
    case .packed: return [read("readPacked", field.selfName)]
    case .indirect:
      return [
        "var value = \(field.storage).value", read("readOptional", "value"),
        "\(field.storage) = Indirect(value)",
      ]
    case .oneof:
      return [
        "var value = \(field.selfName)", read("read", "value"), "\(field.selfName) = value",
      ]
    }
  }
}

extension Field {
  fileprivate var isMap: Bool { if case .map = presence { true } else { false } }

  /// The family of codec functions for the field's presence.
  fileprivate var codecFunction: String {
    switch presence {
    case .optional, .indirect: "optional"
    case .repeated: "repeated"
    case .packed: "packed"
    default: "field"
    }
  }

  /// What holds the field's value.
  fileprivate var storedValue: String {
    switch presence {
    case .optional: storage
    case .indirect: "\(storage).value"
    default: selfName
    }
  }
}
