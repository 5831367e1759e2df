// SPDX-License-Identifier: Apache-2.0

extension MessageGenerator {
  /// The stored and computed properties, in the order of the proto file.
  func printProperties(to printer: inout Printer) {
    var printedOneofs: Set<Int> = []
    for field in fields {
      if case .oneof(let index, _) = field.presence,
        let oneof = oneofs.first(where: { $0.index == index })
      {
        if printedOneofs.insert(index).inserted {
          printOneof(oneof, to: &printer)
        }
        printer.lines(comments.documentation(path + [2, field.index]))
        printOneofMember(field, of: oneof.name, to: &printer)
      } else {
        printer.lines(comments.documentation(path + [2, field.index]))
        printProperty(field, to: &printer)
      }
      printer.line()
    }
  }

  private func printProperty(_ field: Field, to printer: inout Printer) {
    let declaration = "package var \(field.escapedName): "
    switch field.presence {
    case .repeated, .packed: printer.line(declaration + "[\(field.swiftType)] = []")
    case .optional: printOptional(field, isIndirect: false, to: &printer)
    case .indirect: printOptional(field, isIndirect: true, to: &printer)
    default: printer.line(declaration + "\(field.swiftType) = \(field.defaultValue)")
    }
  }

  private func printOptional(_ field: Field, isIndirect: Bool, to printer: inout Printer) {
    let value = isIndirect ? "\(field.storage).value" : field.storage
    printer.block("package var \(field.escapedName): \(field.swiftType)") { printer in
      printer.line("get { \(value) ?? \(field.defaultValue) }")
      let stored = isIndirect ? "Indirect(newValue)" : "newValue"
      printer.line("set { \(field.storage) = \(stored) }")
    }
    let capitalized = SwiftName.upperCamel(field.name)
    let none = isIndirect ? ".none" : "nil"
    printer.line("package var has\(capitalized): Bool { \(value) != nil }")
    printer.line("package mutating func clear\(capitalized)() { \(field.storage) = \(none) }")
    let type = isIndirect ? "Indirect<\(field.swiftType)> = .none" : "\(field.swiftType)?"
    printer.line("private var \(field.storage): \(type)")
  }

  private func printOneof(
    _ oneof: (index: Int, name: String, type: String, fields: [Field]), to printer: inout Printer
  ) {
    let documentation = comments.documentation(path + [8, Int32(oneof.index)])
    printer.lines(documentation)
    printer.line("package var \(SwiftName.escaped(oneof.name)): \(oneof.type)?")
    printer.line()
    printer.lines(documentation)
    printer.block("package enum \(oneof.type): Hashable, Sendable") { printer in
      for field in oneof.fields {
        printer.lines(comments.documentation(path + [2, field.index]))
        let isIndirect = if case .oneof(_, indirect: true) = field.presence { true } else { false }
        let keyword = isIndirect ? "indirect case" : "case"
        printer.line("\(keyword) \(field.escapedName)(\(field.swiftType))")
      }
    }
    printer.line()
  }

  private func printOneofMember(
    _ field: Field, of oneof: String, to printer: inout Printer
  ) {
    let oneof = SwiftName.escaped(oneof)
    printer.block("package var \(field.escapedName): \(field.swiftType)") { printer in
      printer.block("get") { printer in
        printer.line("if case .\(field.escapedName)(let value)? = \(oneof) { return value }")
        printer.line("return \(field.defaultValue)")
      }
      printer.line("set { \(oneof) = .\(field.escapedName)(newValue) }")
    }
  }
}
