// SPDX-License-Identifier: Apache-2.0

import Foundation
import Support
import TestSupport
import Testing
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

@Suite struct TokenizerTests {
  /// Compares 10,000 texts with Hugging Face: ids, and the text that comes back.
  static func compare(_ file: String, seed: UInt64, count: Int = 10_000) throws {
    let oracle = try TokenizerOracle()
    let tokenizer = try Tokenizer(contentsOf: file)
    var random = RandomText(seed: seed, names: try Fixtures.addedTokens(file))
    let texts = (0..<count).map { _ in random.next() }
    let expected = try oracle.encode(texts, file: file)
    try #require(expected.count == count)
    var failures = 0
    for (text, ids) in zip(texts, expected) where failures < 5 {
      let found = try tokenizer.encode(text)
      if found != ids {
        failures += 1
        Issue.record("\(scalars(text)): \(found), Hugging Face \(ids)")
      }
    }
    let decoded = try oracle.decode(expected, file: file, skippingSpecial: false)
    for (ids, text) in zip(expected, decoded) where failures < 5 {
      let found = tokenizer.decode(ids)
      if Array(found.utf8) != Array(text.utf8) {
        failures += 1
        Issue.record("\(ids): \(scalars(found)), Hugging Face \(scalars(text))")
      }
    }
  }

  @Test("Ids and texts equal those of Hugging Face", arguments: Fixtures.tokenizers)
  func equalsHuggingFace(name: String) throws {
    try Self.compare(Fixtures.path(name), seed: 1)
  }
}
