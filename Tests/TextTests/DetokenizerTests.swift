// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing
import Text

@Suite struct DetokenizerTests {
  @Test("Deltas joined are the whole text, and none splits a character", arguments: [true, false])
  func joinsToTheWhole(skipsControlTokens: Bool) throws {
    let tokenizer = try Fixtures.tokenizer("deepseek-v3")
    var random = SeededGenerator(seed: 8)
    var text = RandomText(seed: 8, names: ["<｜User｜>", "<think>"])
    for round in 0..<3_000 {
      // Tokens of text, and tokens that fit no text: broken characters of all kinds.
      let ids: [Int32] =
        round % 2 == 0
        ? try tokenizer.encode(text.next())
        : (0..<Int.random(in: 0...30, using: &random)).map { _ in
          Int32.random(in: 0..<(round % 4 == 1 ? 260 : 2_030), using: &random)
        }
      var detokenizer = Detokenizer(tokenizer, skippingControlTokens: skipsControlTokens)
      var joined: [UInt8] = []
      for (index, id) in ids.enumerated() {
        if index % 3 == 0 {
          joined += detokenizer.append(id).utf8
        } else {
          detokenizer.append(id, to: &joined)
        }
      }
      joined += detokenizer.flush().utf8
      let whole = tokenizer.decode(ids, skippingControlTokens: skipsControlTokens)
      #expect(joined == Array(whole.utf8), "\(ids)")
    }
  }

  @Test("Broken text is that of Hugging Face") func equalsHuggingFace() throws {
    let tokenizer = try Fixtures.tokenizer("deepseek-v3")
    var random = SeededGenerator(seed: 9)
    let sequences = (0..<3_000).map { _ in
      (0..<Int.random(in: 1...20, using: &random)).map { _ in
        Int32.random(in: 0..<300, using: &random)
      }
    }
    let expected = try TokenizerOracle().decode(
      sequences, file: Fixtures.path("deepseek-v3"), skippingSpecial: false)
    for (ids, text) in zip(sequences, expected) {
      var detokenizer = Detokenizer(tokenizer, skippingControlTokens: false)
      let found = detokenizer.append(ids) + detokenizer.flush()
      #expect(scalars(found) == scalars(text), "\(ids)")
    }
  }

  @Test("A character comes with its last byte") func holdsBackParts() throws {
    let tokenizer = try Fixtures.tokenizer("deepseek-v3")
    var detokenizer = Detokenizer(tokenizer)
    // The bytes of U+1F9A0, whose tokens are single bytes in this vocabulary.
    let ids = try tokenizer.encode("🦠")
    try #require(ids.count > 1)
    for id in ids.dropLast() { #expect(detokenizer.append(id) == "") }
    #expect(detokenizer.append(ids[ids.count - 1]) == "🦠")
    #expect(detokenizer.append(ids[0]) == "")
    #expect(detokenizer.flush() == "\u{FFFD}")
    #expect(detokenizer.flush() == "")
  }
}
