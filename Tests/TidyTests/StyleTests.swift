// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// The habits that keep the code readable, as limits. Generated files are exempt.
@Suite struct StyleTests {
  private static let lineWidthMax = 100
  private static let fileLinesMax = 500
  private static let functionLinesMax = 70

  private static func files() throws -> [SourceFile] {
    let code: Set = ["swift", "c", "h", "py", "sh", "cc", "cu"]
    return try ["Sources", "CShims", "Tests", "Tools", "Examples", "Benchmarks"].flatMap {
      try SourceFile.all(under: $0, extensions: code)
    }.filter { !$0.isGenerated }
  }

  @Test func `lines fit in 100 columns`() throws {
    for file in try Self.files() {
      for (number, line) in file.lines.enumerated() where line.count > Self.lineWidthMax {
        Issue.record("\(file.path):\(number + 1) has \(line.count) columns")
      }
    }
  }

  @Test func `files have at most 500 lines`() throws {
    for file in try Self.files() where file.lines.count > Self.fileLinesMax + 1 {
      Issue.record("\(file.path) has \(file.lines.count) lines")
    }
  }

  @Test func `functions have at most 70 lines`() throws {
    var longest = 0
    for file in try Self.files() where file.path.hasSuffix(".swift") {
      for function in FunctionScanner.functions(in: file.lines) {
        longest = max(longest, function.lineCount)
        guard function.lineCount > Self.functionLinesMax else { continue }
        Issue.record("\(file.path):\(function.line) has a function of \(function.lineCount) lines")
      }
    }
    #expect(longest > 20, "the scanner finds functions")
  }

  @Test func `every file says its licence and ends in a newline`() throws {
    for file in try Self.files() {
      let head = file.lines.prefix(3).joined()
      #expect(head.contains("SPDX-License-Identifier: Apache-2.0"), "\(file.path)")
      #expect(file.lines.last == "", "\(file.path) does not end in a newline")
    }
  }

  @Test func `no source holds what can stop the process or is unfinished`() throws {
    let banned = ["try!", "as!", "fatalError(", "print(", "TODO", "FIXME", "DispatchQueue"]
    // Where the word is the point: the check itself, and what the command prints.
    let exempt: [String: Set<String>] = [
      "fatalError(": ["Sources/Support/Check.swift"],
      "print(": Set(try SourceFile.all(under: "Sources/silica", extensions: ["swift"]).map(\.path)),
    ]
    for file in try Self.files() where file.path.hasPrefix("Sources/") {
      for (number, line) in file.lines.enumerated() where !line.contains("//") {
        for word in banned where Self.holds(line, word) {
          if exempt[word]?.contains(file.path) == true { continue }
          Issue.record("\(file.path):\(number + 1) holds \(word)")
        }
      }
    }
  }

  /// Whether a word begins somewhere in a line, and not in the middle of a name.
  private static func holds(_ line: String, _ word: String) -> Bool {
    line.ranges(of: word).contains { range in
      guard range.lowerBound > line.startIndex else { return true }
      let before = line[line.index(before: range.lowerBound)]
      let isPartOfName = before.isLetter || before == "." || before == "_"
      return !isPartOfName && !line.contains("func \(word)")
    }
  }

  @Test func `an unchecked Sendable says why it is safe`() throws {
    for file in try Self.files() where file.path.hasPrefix("Sources/") {
      for (number, line) in file.lines.enumerated() where line.contains("@unchecked Sendable") {
        let around = file.lines[max(0, number - 12)..<min(file.lines.count, number + 4)]
        let hasReason = around.contains { $0.contains("//") }
        #expect(hasReason, "\(file.path):\(number + 1) gives no reason")
      }
    }
  }

  @Test func `every target has a README of a page`() throws {
    for target in try PackageFile.targets().keys {
      let url = repositoryRoot.appending(path: "Sources/\(target)/README.md")
      let text = try String(contentsOf: url, encoding: .utf8)
      #expect(text.count > 300, "Sources/\(target)/README.md says too little")
    }
  }
}
