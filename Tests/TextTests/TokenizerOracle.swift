// SPDX-License-Identifier: Apache-2.0

import Support
import TestSupport

/// Hugging Face `tokenizers` in a Python process.
final class TokenizerOracle {
  struct Refusal: Error { let answer: String }

  private let process: PythonProcess

  init() throws {
    process = try PythonProcess(script: Repository.path("Tests/Oracle/tokenizer_oracle.py"))
  }

  func encode(_ texts: [String], file: String) throws -> [[Int32]] {
    let answer = try ask([
      "op": "encode", "file": .string(file), "texts": .array(texts.map(JSON.string)),
    ])
    return try elements(answer).map { try elements($0).map { Int32($0.integerValue ?? -1) } }
  }

  func decode(_ ids: [[Int32]], file: String, skippingSpecial skip: Bool) throws -> [String] {
    let lists = ids.map { JSON.array($0.map { .integer(Int($0)) }) }
    return try strings(
      ask(["op": "decode", "file": .string(file), "ids": .array(lists), "skip": .bool(skip)]))
  }

  func nfc(_ texts: [String]) throws -> [String] {
    try strings(ask(["op": "nfc", "texts": .array(texts.map(JSON.string))]))
  }

  /// Seconds that one encoding takes.
  func time(_ text: String, file: String) throws -> Double {
    let answer = try ask(["op": "time", "file": .string(file), "text": .string(text)])
    guard let seconds = answer.numberValue else { throw Refusal(answer: "\(answer)") }
    return seconds
  }

  private func ask(_ request: JSON) throws -> JSON {
    try process.writeFrame(Array("\(request)".utf8))
    return try JSON(parsing: process.readFrame())
  }

  private func elements(_ answer: JSON) throws -> [JSON] {
    guard let elements = answer.arrayValue else { throw Refusal(answer: "\(answer)") }
    return elements
  }

  private func strings(_ answer: JSON) throws -> [String] {
    try elements(answer).map { $0.stringValue ?? "" }
  }
}
