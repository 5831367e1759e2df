// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// Finds functions in Swift source by matching braces outside strings and comments.
enum FunctionScanner {
  struct Function: Equatable {
    /// Of its first line, from 1.
    let line: Int
    let lineCount: Int
  }

  static func functions(in lines: [String]) -> [Function] {
    var found: [Function] = []
    var open: [(line: Int, depth: Int)] = []
    var pending: Int?
    var depth = 0
    var inMultilineString = false
    for (number, line) in lines.enumerated() {
      if line.components(separatedBy: "\"\"\"").count % 2 == 0 { inMultilineString.toggle() }
      if inMultilineString { continue }
      let code = withoutStringsAndComments(line)
      if startsFunction(code) { pending = number }
      for character in code {
        if character == "{" {
          if let start = pending {
            open.append((start, depth))
            pending = nil
          }
          depth += 1
        } else if character == "}" {
          // A requirement of a protocol has no braces of its own.
          pending = nil
          depth -= 1
          if let last = open.last, last.depth == depth {
            found.append(Function(line: last.line + 1, lineCount: number - last.line + 1))
            open.removeLast()
          }
        }
      }
    }
    return found
  }

  private static func startsFunction(_ code: String) -> Bool {
    let words = code.split { !$0.isLetter && !$0.isNumber && $0 != "@" && $0 != "_" }
    let isProtocolRequirement = code.contains("{ get")
    return !isProtocolRequirement
      && words.contains { ["func", "init", "deinit", "subscript"].contains($0) }
      && !code.contains("self.init") && !code.contains(".init(") && !code.contains("super.init")
  }

  private static func withoutStringsAndComments(_ line: String) -> String {
    var code = ""
    var inString = false
    var previous: Character = " "
    for character in line {
      if character == "\"" && previous != "\\" { inString.toggle() }
      if !inString {
        if character == "/" && previous == "/" {
          code.removeLast()
          break
        }
        code.append(character)
      }
      previous = character
    }
    return code
  }
}

@Suite struct FunctionScannerTests {
  @Test func `a function reaches from its first line to its brace`() {
    let source = """
      struct A {
        func a() {
          if b { c("}") }  // }
        }
        init(
          x: Int
        ) {
        }
      }
      protocol B {
        func b()
      }
      struct C {
      }
      """
    #expect(
      FunctionScanner.functions(in: source.components(separatedBy: "\n")) == [
        .init(line: 2, lineCount: 3), .init(line: 5, lineCount: 4),
      ])
  }
}
