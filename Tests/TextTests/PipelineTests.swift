// SPDX-License-Identifier: Apache-2.0

import Foundation
import Support
import TestSupport
import Testing
import Text

/// Options of `tokenizer.json` that the fixtures do not use, against Hugging Face.
@Suite struct PipelineTests {
  private static let byteLevel: JSON = [
    "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
  ]

  private static func compare(
    _ name: String = "llama3", with oracle: TokenizerOracle, seed: UInt64 = 7,
    decodes: Bool = true, change: (inout JSON) -> Void
  ) throws {
    let folder = try TemporaryDirectory()
    let file = try Fixtures.variant(of: name, in: folder, change: change)
    try TokenizerTests.compare(
      file, with: oracle, seed: seed, count: 500, decodes: decodes)
  }

  private static func sequence(_ stages: JSON...) -> JSON {
    ["type": "Sequence", "pretokenizers": .array(stages)]
  }

  private static func split(_ pattern: JSON, _ behavior: String, invert: Bool) -> JSON {
    [
      "type": "Split", "pattern": pattern, "behavior": .string(behavior), "invert": .bool(invert),
    ]
  }

  @Test(
    "Splits behave as in Hugging Face",
    arguments: ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"],
    [false, true])
  func splits(behavior: String, invert: Bool) throws {
    let patterns: [JSON] = [
      ["Regex": #"\p{L}"#], ["Regex": #"\s*"#], ["String": " "], ["Regex": #"^.|.$"#],
    ]
    let oracle = try TokenizerOracle()
    for pattern in patterns {
      let stage = Self.split(pattern, behavior, invert: invert)
      try Self.compare(with: oracle) {
        $0.set(["pre_tokenizer"], Self.sequence(stage, Self.byteLevel))
      }
    }
  }

  @Test(
    "Digits, GPT-2's splits and prefix spaces are those of Hugging Face",
    arguments: [true, false])
  func digitsAndByteLevel(flag: Bool) throws {
    let digits: JSON = ["type": "Digits", "individual_digits": .bool(flag)]
    let byteLevel: JSON = [
      "type": "ByteLevel", "add_prefix_space": .bool(flag), "trim_offsets": true,
      "use_regex": true,
    ]
    let oracle = try TokenizerOracle()
    try Self.compare(with: oracle) {
      $0.set(["pre_tokenizer"], Self.sequence(digits, byteLevel))
    }
    try Self.compare(with: oracle) { $0.set(["pre_tokenizer"], byteLevel) }
  }

  private static let patterns = [
    #"[^\S\r\n]+"#, #"\P{L}+"#, #"[\P{N}]+"#, #"\p{^P}"#, #"[^\p{Lu}\p{Ll}\p{Lt}]+"#, #"\D+|\d"#,
    #"(?i:'s|k|\p{L}x)"#, #"(?<=a).|.(?=b)|(?<!c)d"#, #"\x41+|\x{4e00}|\u0042"#,
    #"\p{L}++|\p{N}?+x"#, #"(?>a|ab)c|\.|\-"#, #"\v|\t+"#, #"\p{Cn}|\p{Co}+"#,
    #"a{2}|b{1,3}|c{2,}"#, #"^\p{L}+$"#, #"\s+$"#,
  ]

  @Test("Patterns mean what they mean to Oniguruma") func patternsAreOnigurumas() throws {
    let oracle = try TokenizerOracle()
    for pattern in Self.patterns {
      let stage = Self.split(["Regex": .string(pattern)], "Isolated", invert: false)
      try Self.compare(with: oracle) {
        $0.set(["pre_tokenizer"], Self.sequence(stage, Self.byteLevel))
      }
    }
  }

  @Test("Added tokens strip, stand alone and normalize as in Hugging Face")
  func addedTokenOptions() throws {
    let names = ["abc", "ab", "жé", "<x>", "中文", " b", "the", "ABC", "\u{212B}x", "a b"]
    let oracle = try TokenizerOracle()
    for variant in 0..<16 {
      let entries = names.enumerated().map { index, name -> JSON in
        let bits = variant &* 5 &+ index
        return [
          "id": .integer(9_000 + index), "content": .string(name),
          "single_word": .bool(bits & 1 != 0), "lstrip": .bool(bits & 2 != 0),
          "rstrip": .bool(bits & 4 != 0), "normalized": .bool(bits & 8 != 0),
          "special": .bool(index % 2 == 0),
        ]
      }
      // Ids behind the vocabulary, without a gap: Hugging Face numbers them itself. It decodes
      // "\u{212B}x" as a broken character, which is not followed.
      try Self.compare("qwen2", with: oracle, seed: UInt64(variant), decodes: false) { json in
        let first = json["model"]?["vocab"]?.objectValue?.count ?? 0
        let known = json["model"]?["vocab"]?.objectValue
        var next = first
        let placed = entries.map { entry -> JSON in
          var entry = entry
          if let id = known?[entry["content"]?.stringValue ?? ""] {
            entry.set(["id"], id)
          } else {
            entry.set(["id"], .integer(next))
            next += 1
          }
          return entry
        }
        json.set(["added_tokens"], .array(placed))
      }
    }
  }

  @Test("Merges as pairs and as text are the same") func mergeForms() throws {
    let folder = try TemporaryDirectory()
    let pairs = try Fixtures.variant(of: "llama3", in: folder) { json in
      let merges = (json["model"]?["merges"]?.arrayValue ?? []).map { merge in
        JSON.array((merge.stringValue ?? "").split(separator: " ").map { .string(String($0)) })
      }
      json.set(["model", "merges"], .array(merges))
    }
    let text = "The quick brown fox, 12345 times."
    let expected = try Fixtures.tokenizer("llama3").encode(text)
    #expect(try Tokenizer(contentsOf: pairs).encode(text) == expected)
  }

  @Test("Bytes without a token become the unknown token", arguments: [true, false])
  func unknownTokens(fuses: Bool) throws {
    try Self.compare("qwen2", with: TokenizerOracle()) { json in
      var vocabulary = JSONObject()
      for member in json["model"]?["vocab"]?.objectValue?.members ?? [] {
        // Q, 0x80 and 0x81 are in no merge.
        if ["Q", "Ģ", "ģ"].contains(member.key) { continue }
        _ = vocabulary.append(member.key, member.value)
      }
      _ = vocabulary.append("<unk>", 9_999)
      json.set(["added_tokens"], [])
      json.set(["model", "vocab"], .object(vocabulary))
      json.set(["model", "unk_token"], "<unk>")
      json.set(["model", "fuse_unk"], .bool(fuses))
      let merges = (json["model"]?["merges"]?.arrayValue ?? []).filter { merge in
        !(merge.arrayValue ?? []).contains { part in
          let scalars = (part.stringValue ?? "").unicodeScalars
          return scalars.contains("Q") || scalars.contains("Ģ") || scalars.contains("ģ")
        }
      }
      json.set(["model", "merges"], .array(merges))
    }
  }
}
