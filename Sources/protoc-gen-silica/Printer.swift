// SPDX-License-Identifier: Apache-2.0

/// Swift source, line by line, indented by two spaces for each open block.
struct Printer {
  private(set) var text = ""
  private var depth = 0

  mutating func line(_ line: String = "") {
    if !line.isEmpty { text += String(repeating: "  ", count: depth) + line }
    text += "\n"
  }

  mutating func lines(_ lines: [String]) { for line in lines { self.line(line) } }

  /// `header {`, what `body` prints, and `}`.
  mutating func block<E: Error>(
    _ header: String, _ body: (inout Printer) throws(E) -> Void
  ) throws(E) {
    line(header + " {")
    try indented(body)
    line("}")
  }

  mutating func indented<E: Error>(_ body: (inout Printer) throws(E) -> Void) throws(E) {
    depth += 1
    try body(&self)
    depth -= 1
  }

  /// A list in brackets, filled up to 100 columns.
  mutating func list(_ header: String, _ items: [String], end: String) {
    line(header)
    indented { printer in
      var row = ""
      for item in items {
        if !row.isEmpty, row.count + item.count + 2 + 2 * printer.depth > 100 {
          printer.line(row)
          row = ""
        }
        row += (row.isEmpty ? "" : " ") + item + ","
      }
      printer.line(row)
    }
    line(end)
  }
}
