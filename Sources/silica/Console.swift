// SPDX-License-Identifier: Apache-2.0

import Glibc

/// What the command writes for people and scripts: results to standard output, the rest to
/// standard error.
enum Console {
  static func out(_ text: String) { write(text, to: STDOUT_FILENO) }
  static func error(_ text: String) { write(text, to: STDERR_FILENO) }

  /// Whether a person watches standard error, so that progress may be redrawn there.
  static var errorIsTerminal: Bool { isatty(STDERR_FILENO) == 1 }

  /// Whether a person types standard input.
  static var inputIsTerminal: Bool { isatty(STDIN_FILENO) == 1 }

  private static func write(_ text: String, to descriptor: Int32) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return }
      bytes = bytes.dropFirst(count)
    }
  }
}

/// A table for people: columns as wide as their widest cell, numbers to the right.
struct Table {
  let header: [String]
  var rows: [[String]] = []

  var text: String {
    let all = [header] + rows
    let widths = header.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
    return all.map { row in
      let cells = zip(row, widths).map { cell, width in
        let padding = String(repeating: " ", count: width - cell.count)
        return cell.first?.isNumber == true ? padding + cell : cell + padding
      }
      var line = cells.joined(separator: "  ")
      while line.last == " " { line.removeLast() }
      return line + "\n"
    }.joined()
  }
}
