// SPDX-License-Identifier: Apache-2.0

import Foundation
import Support
import TestSupport
import Testing
import Text

/// Files that are wrong or ask for what is not supported.
@Suite struct RefusalTests {
  /// The message that a changed file is refused with.
  private static func message(change: (inout JSON) -> Void) throws -> String {
    let folder = try TemporaryDirectory()
    let file = try Fixtures.variant(of: "qwen2", in: folder, change: change)
    return message(file: file)
  }

  private static func message(file: String) -> String {
    do {
      _ = try Tokenizer(contentsOf: file)
      return "accepted"
    } catch {
      return error.message
    }
  }

  private static func stage(_ stage: JSON) -> JSON {
    ["type": "Sequence", "pretokenizers": [stage, ["type": "ByteLevel"]]]
  }

  private static func split(_ pattern: String) -> JSON {
    stage([
      "type": "Split", "pattern": ["Regex": .string(pattern)], "behavior": "Isolated",
      "invert": false,
    ])
  }

  private static let changes: [(path: [String], value: JSON, message: String)] = [
    (["model", "type"], "Unigram", "model.type is 'Unigram'"),
    (["model", "dropout"], 0.5, "model.dropout is 0.5"),
    (["model", "byte_fallback"], true, "model.byte_fallback is true"),
    (["model", "continuing_subword_prefix"], "##", "model.continuing_subword_prefix is '##'"),
    (["model", "unk_token"], "<none>", "model.unk_token is '<none>'"),
    (["model", "vocab"], [:], "model.vocab holds no token for the byte 0"),
    (["model", "vocab"], [], "model.vocab is an array"),
    (["model", "vocab", "the"], -1, "model.vocab['the'] is"),
    (["model", "vocab", "the"], 3, "the id of another token too"),
    (["model", "vocab", "new"], 2_000_000_000, "a token has the id 2000000000"),
    (["model", "merges"], .null, "model.merges is missing"),
    (["model", "merges"], [["a"]], "model.merges[0]"),
    (["model", "merges"], ["a b c"], "model.merges[0]"),
    (["model", "merges"], ["a\u{1F600} b"], "model.merges[0] joins"),
    (["normalizer"], ["type": "NFKC"], "normalizer has the type 'NFKC'"),
    (
      ["normalizer"], ["type": "Sequence", "normalizers": [["type": "Lowercase"]]],
      "normalizer.normalizers[0] has the type 'Lowercase'"
    ),
    (["pre_tokenizer"], .null, "pre_tokenizer does not end with ByteLevel"),
    (["pre_tokenizer"], ["type": "Metaspace"], "pre_tokenizer does not end with ByteLevel"),
    (
      ["pre_tokenizer"], stage(["type": "Whitespace"]),
      "pre_tokenizer.pretokenizers[0] has the type 'Whitespace'"
    ),
    (["pre_tokenizer"], split("["), "pre_tokenizer.pretokenizers[0].pattern"),
    (["pre_tokenizer"], split("a)"), "the regular expression 'a)' is wrong"),
    (["pre_tokenizer"], split(#"\bx"#), #"'\b'"#),
    (["pre_tokenizer"], split(#"\w+"#), #"'\w'"#),
    (["pre_tokenizer"], split(#"\p{Han}"#), "the property 'Han'"),
    (["pre_tokenizer"], split("[[:alpha:]]"), "'[' within a class"),
    (["pre_tokenizer"], split("(?m:.)"), "the group '(?m:"),
    (["pre_tokenizer"], split("(?i:straße)"), "a caseless group"),
    (["pre_tokenizer"], split("(?i:x|ss)"), "a caseless group"),
    (["pre_tokenizer"], split("a{1,2}+"), "'+' behind '}'"),
    (["decoder"], ["type": "Metaspace"], "decoder has the type 'Metaspace'"),
    (["decoder"], .null, "decoder has 0 stages"),
    (["added_tokens"], [["id": 5_000, "content": ""]], "added_tokens[0].content is empty"),
    (["added_tokens"], [["id": "x", "content": "a"]], "added_tokens[0].id is a string"),
    (["added_tokens"], [["id": 0, "content": "zzz"]], "'zzz' has the id 0"),
    (
      ["added_tokens"],
      [["id": 5_000, "content": "zzz"], ["id": 5_001, "content": "zzz"]], "'zzz' twice"
    ),
  ]

  @Test("Wrong files are refused by name", arguments: changes.indices)
  func refuses(index: Int) throws {
    let (path, value, expected) = Self.changes[index]
    let message = try Self.message { $0.set(path, value) }
    #expect(message.contains(expected), "\(path): \(message)")
  }

  @Test("Files that are missing or no JSON are refused") func refusesOtherFiles() throws {
    let folder = try TemporaryDirectory()
    #expect(Self.message(file: folder.path("none.json")).contains("there is no such file"))
    #expect(Self.message(file: folder.path).contains("is not a file"))
    let file = folder.path("broken.json")
    for text in ["", "{", "[]", "{\"model\": {}}", "{} {}", "{\"a\": 1, \"a\": 2}", "\u{0}"] {
      try Data(text.utf8).write(to: URL(fileURLWithPath: file))
      #expect(Self.message(file: file).hasPrefix("\(file): "), "\(text)")
    }
  }

  @Test("Truncated files are refused at each length") func refusesTruncatedFiles() throws {
    let folder = try TemporaryDirectory()
    let whole = try Data(contentsOf: URL(fileURLWithPath: Fixtures.path("qwen2")))
    let file = folder.path("cut.json")
    var random = SeededGenerator(seed: 6)
    for _ in 0..<50 {
      let count = Int.random(in: 0..<whole.count - 2, using: &random)
      try whole.prefix(count).write(to: URL(fileURLWithPath: file))
      #expect(Self.message(file: file).contains("is not JSON"))
    }
  }
}
