// SPDX-License-Identifier: Apache-2.0

/// Prints an enum: a case for each number, and one that keeps unknown numbers.
struct EnumGenerator {
  let type: Google_Protobuf_EnumDescriptorProto
  let swiftName: String
  let path: [Int32]
  let comments: Comments

  func print(to printer: inout Printer) {
    var cases: [(number: Int32, name: String)] = []
    var aliases: [(name: String, of: String, index: Int)] = []
    printer.lines(comments.documentation(path))
    printer.block("package enum \(swiftName): EnumValue") { printer in
      for (index, value) in type.value.enumerated() {
        let name = SwiftName.escaped(SwiftName.enumCase(value.name, of: type.name))
        if let first = cases.first(where: { $0.number == value.number }) {
          aliases.append((name, first.name, index))
          continue
        }
        cases.append((value.number, name))
        printer.lines(comments.documentation(path + [2, Int32(index)]))
        printer.line("case \(name)")
      }
      printer.line("/// A number that this version has no name for.")
      printer.line("case UNRECOGNIZED(Int)")
      for alias in aliases {
        printer.line()
        printer.lines(comments.documentation(path + [2, Int32(alias.index)]))
        printer.line("package static let \(alias.name) = Self.\(alias.of)")
      }
      printConversions(cases, to: &printer)
    }
  }

  private func printConversions(
    _ cases: [(number: Int32, name: String)], to printer: inout Printer
  ) {
    printer.line()
    printer.line("package init() { self = .\(cases[0].name) }")
    printer.line()
    printer.block("package init(rawValue: Int)") { printer in
      printer.line("switch rawValue {")
      for value in cases { printer.line("case \(value.number): self = .\(value.name)") }
      printer.line("default: self = .UNRECOGNIZED(rawValue)")
      printer.line("}")
    }
    printer.line()
    printer.block("package var rawValue: Int") { printer in
      printer.line("switch self {")
      for value in cases { printer.line("case .\(value.name): \(value.number)") }
      printer.line("case .UNRECOGNIZED(let number): number")
      printer.line("}")
    }
  }
}
