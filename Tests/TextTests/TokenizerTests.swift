// SPDX-License-Identifier: Apache-2.0

import Foundation
import Support
import TestSupport
import Testing
import Text

@Suite struct TokenizerTests {
  /// Compares 10,000 texts with Hugging Face: ids, and the text that comes back.
  static func compare(
    _ file: String, with oracle: TokenizerOracle, seed: UInt64, count: Int = 10_000,
    decodes: Bool = true
  ) throws {
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
    guard decodes else { return }
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
    // The distilled models have the pipelines of Qwen2 and Llama 3.
    let count = name.hasPrefix("r1-") ? 2_000 : 10_000
    try Self.compare(Fixtures.path(name), with: TokenizerOracle(), seed: 1, count: count)
  }

  @Test("Each character is cut as by Hugging Face", arguments: ["deepseek-v3", "qwen2"])
  func classifiesCharacters(name: String) throws {
    // A letter and a digit on both sides show which class a character has.
    let values = [0..<0x3400, 0x4DC0..<0x4E10, 0x9FF0..<0xABFF, 0xD7A0..<0xE010, 0xF8F0..<0x17000]
      .joined()
    let more = [
      0x18AF0..<0x20000, 0x2A6D0..<0x2A710, 0x2B700..<0x2B760, 0x2CE90..<0x2CEC0,
      0x2EBD0..<0x2EE70, 0x30000..<0x30010, 0x31340..<0x323C0, 0xE0000..<0xE0200,
    ].joined()
    let characters = (Array(values) + more).compactMap { Unicode.Scalar(UInt32($0)) }
      .filter { $0.properties.age != nil || $0.value % 16 == 0 }
    let texts = stride(from: 0, to: characters.count, by: 32).map { start in
      characters[start..<min(start + 32, characters.count)]
        .map { "a\($0)b \($0)\n\($0)!1\($0)2" }.joined()
    }
    let oracle = try TokenizerOracle()
    let tokenizer = try Fixtures.tokenizer(name)
    let expected = try oracle.encode(texts, file: Fixtures.path(name))
    for (index, text) in texts.enumerated() {
      #expect(try tokenizer.encode(text) == expected[index], "\(characters[index * 32])…")
    }
  }

  @Test("Decoding gives the text back", arguments: ["deepseek-v2", "deepseek-v3", "llama3"])
  func decodesWhatWasEncoded(name: String) throws {
    let tokenizer = try Fixtures.tokenizer(name)
    var random = RandomText(seed: 2, names: try Fixtures.addedTokens(Fixtures.path(name)))
    for text in (0..<5_000).map({ _ in random.next() }) {
      #expect(scalars(tokenizer.decode(try tokenizer.encode(text))) == scalars(text))
      let plain = try tokenizer.encode(text, addedTokens: .plain)
      #expect(scalars(tokenizer.decode(plain)) == scalars(text))
    }
  }

  @Test("Decoding gives the composed text back") func decodesComposedText() throws {
    let tokenizer = try Fixtures.tokenizer("qwen2")
    var random = RandomText(seed: 3, names: ["<|no_token|>"])
    var texts = (0..<5_000).map { _ in random.next() }
    // All characters that compose or decompose, and what they decompose to.
    for value in UInt32(0xA0)..<0x30000 {
      guard let scalar = Unicode.Scalar(value) else { continue }
      let parts = String(scalar).decomposedStringWithCanonicalMapping
      guard scalars(parts) != scalars(String(scalar)) else { continue }
      if 0xAC00..<0xD7A4 ~= value && value % 64 != 0 { continue }
      texts += ["\(scalar)", parts, "\(parts)\u{301}", "\(parts)\u{323}\u{301}"]
    }
    // All characters that combine, before and behind others.
    for value in UInt32(0x300)..<0x1F000 {
      guard let scalar = Unicode.Scalar(value),
        scalar.properties.canonicalCombiningClass != .notReordered
      else { continue }
      texts += ["a\u{345}\(scalar)", "a\u{301}\(scalar)\u{334}"]
      texts.append("\(scalar)e\u{328}\(scalar)\u{301}")
    }
    for (text, composed) in zip(texts, try TokenizerOracle().nfc(texts)) {
      let found = scalars(tokenizer.decode(try tokenizer.encode(text)))
      #expect(found == scalars(composed), "\(scalars(text)) became \(found)")
    }
  }

  @Test(
    "Plain text is encoded as by a tokenizer without added tokens",
    arguments: Fixtures.tokenizers)
  func plainTextHasNoAddedTokens(name: String) throws {
    let tokenizer = try Fixtures.tokenizer(name)
    let names = try Fixtures.addedTokens(Fixtures.path(name))
    let added = Set(names.compactMap(tokenizer.token))
    #expect(added.count == names.count)
    let folder = try TemporaryDirectory()
    let bare = try Fixtures.variant(of: name, in: folder) { $0.set(["added_tokens"], []) }
    var random = RandomText(seed: 4, names: names)
    let texts = names + (0..<2_000).map { _ in random.next() }
    for (text, expected) in zip(texts, try TokenizerOracle().encode(texts, file: bare)) {
      let ids = try tokenizer.encode(text, addedTokens: .plain)
      #expect(ids == expected)
      #expect(added.isDisjoint(with: ids))
    }
  }

  @Test("Plain text cannot become an added token by merges or as a whole piece")
  func plainTextAvoidsAddedTokensOfTheVocabulary() throws {
    let folder = try TemporaryDirectory()
    for ignoresMerges in [false, true] {
      let file = try Fixtures.variant(of: "qwen2", in: folder) { json in
        let id = json["model"]?["vocab"]?["the"] ?? .null
        json.set(["added_tokens"], [["id": id, "content": "the", "special": true]])
        json.set(["model", "ignore_merges"], .bool(ignoresMerges))
      }
      let tokenizer = try Tokenizer(contentsOf: file)
      let id = try #require(tokenizer.token("the"))
      #expect(try tokenizer.encode("the") == [id])
      let plain = try tokenizer.encode("the", addedTokens: .plain)
      #expect(!plain.contains(id))
      #expect(tokenizer.decode(plain) == "the")
    }
  }

  @Test("Control tokens are left out of text on request") func skipsControlTokens() throws {
    let tokenizer = try Fixtures.tokenizer("deepseek-v3")
    let text = "<｜begin▁of▁sentence｜>Hi<｜User｜>a<think>b</think><｜end▁of▁sentence｜>"
    let ids = try tokenizer.encode(text)
    #expect(tokenizer.decode(ids) == text)
    #expect(tokenizer.decode(ids, skippingControlTokens: true) == "Hia<think>b</think>")
    #expect(tokenizer.token("<｜User｜>").map(tokenizer.isControlToken) == true)
    #expect(tokenizer.token("<think>").map(tokenizer.isControlToken) == false)
    #expect(tokenizer.bytes(of: 1_000_000).isEmpty)
    #expect(tokenizer.bytes(of: -1).isEmpty)
  }

  @Test("Many threads may encode at once") func encodesConcurrently() async throws {
    let tokenizer = try Fixtures.tokenizer("deepseek-v3")
    var random = RandomText(seed: 5, names: ["<｜User｜>"])
    let texts = (0..<500).map { _ in random.next() }
    let expected = try texts.map { try tokenizer.encode($0) }
    try await withThrowingTaskGroup(of: Bool.self) { group in
      for _ in 0..<8 {
        group.addTask { try texts.map { try tokenizer.encode($0) } == expected }
      }
      for try await isEqual in group { #expect(isEqual) }
    }
  }

  @Test(
    "A megabyte without a cut takes no time to speak of",
    arguments: ["deepseek-v2", "deepseek-v3", "qwen2"])
  func encodesLongWords(name: String) throws {
    let tokenizer = try Fixtures.tokenizer(name)
    for unit in ["a", " ", "\n", "中", "!", "1", "ab", "<", "\u{301}", " \n", "é"] {
      let text = String(repeating: unit, count: 1_000_000 / unit.utf8.count)
      // Of this thread, since other tests share the processors.
      let start = processorNanoseconds()
      let ids = try tokenizer.encode(text)
      let took = Duration.nanoseconds(processorNanoseconds() - start)
      if ProcessInfo.processInfo.environment["SILICA_MEASURE"] != nil {
        FileHandle.standardError.write(Data("\(name) \(unit.debugDescription): \(took)\n".utf8))
      }
      #expect(took < .seconds(5), "\(unit.debugDescription): \(took)")
      #expect(tokenizer.decode(ids).utf8.count == text.utf8.count)
    }
  }
}

/// What this thread has taken of the processors.
private func processorNanoseconds() -> Int {
  var time = timespec()
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
  return time.tv_sec * 1_000_000_000 + time.tv_nsec
}
