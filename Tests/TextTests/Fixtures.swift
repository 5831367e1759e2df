// SPDX-License-Identifier: Apache-2.0

import Foundation
import Support
import TestSupport
import Text

/// Where the tokenizers for tests lie.
enum Fixtures {
  static let tokenizers = [
    "deepseek-v2", "deepseek-v3", "qwen2", "llama3", "r1-distill-qwen", "r1-distill-llama",
  ]

  static func path(_ name: String) -> String {
    Repository.path("Tests/Fixtures/tokenizers/\(name)/tokenizer.json")
  }

  static func tokenizer(_ name: String) throws -> Tokenizer {
    try Tokenizer(contentsOf: path(name))
  }

  /// The texts of a file's added tokens.
  static func addedTokens(_ file: String) throws -> [String] {
    let json = try JSON(parsing: Array(Data(contentsOf: URL(fileURLWithPath: file))))
    return (json["added_tokens"]?.arrayValue ?? []).compactMap { $0["content"]?.stringValue }
  }
}

/// Text as numbers, so that no two differ and are still called equal.
func scalars(_ text: String) -> String {
  text.unicodeScalars.map { String($0.value, radix: 16) }.joined(separator: " ")
}

extension Fixtures {
  /// Writes a changed copy of a tokenizer file and returns its path.
  static func variant(
    of name: String, in folder: TemporaryDirectory, change: (inout JSON) -> Void
  ) throws -> String {
    var json = try JSON(parsing: Array(Data(contentsOf: URL(fileURLWithPath: path(name)))))
    change(&json)
    let file = folder.path("\(UUID().uuidString).json")
    try Data("\(json)".utf8).write(to: URL(fileURLWithPath: file))
    return file
  }
}

extension JSON {
  /// Sets the member at a path of keys; it is added if there is none.
  mutating func set(_ path: [String], _ value: JSON) {
    guard let key = path.first else {
      self = value
      return
    }
    var result = JSONObject()
    var isFound = false
    for member in objectValue?.members ?? [] {
      var new = member.value
      if member.key == key {
        new.set(Array(path.dropFirst()), value)
        isFound = true
      }
      _ = result.append(member.key, new)
    }
    if !isFound {
      var new = JSON.object(JSONObject())
      new.set(Array(path.dropFirst()), value)
      _ = result.append(key, new)
    }
    self = .object(result)
  }
}
