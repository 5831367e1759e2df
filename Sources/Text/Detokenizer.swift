// SPDX-License-Identifier: Apache-2.0

/// Turns tokens into text as they arrive.
///
/// No delta splits a character: bytes that may still become one are held back. All deltas and the
/// last `flush()` joined are `tokenizer.decode` of all tokens.
package struct Detokenizer: Sendable {
  private let tokenizer: Tokenizer
  private let skipsControlTokens: Bool
  /// The start of a character whose other bytes have not come: up to 3 bytes.
  private var pending: [UInt8] = []

  package init(_ tokenizer: Tokenizer, skippingControlTokens: Bool = true) {
    self.tokenizer = tokenizer
    skipsControlTokens = skippingControlTokens
  }

  /// The text that a token completes; often empty for a part of a character.
  package mutating func append(_ id: Int32) -> String {
    if skipsControlTokens && tokenizer.isControlToken(id) { return "" }
    pending += tokenizer.bytes(of: id)
    return takeText(keeping: Self.unfinishedCount(pending))
  }

  /// Appends the text that a token completes to `text`, as UTF-8. Allocates nothing for a token of
  /// whole characters.
  package mutating func append(_ id: Int32, to text: inout [UInt8]) {
    if skipsControlTokens && tokenizer.isControlToken(id) { return }
    if pending.isEmpty, tokenizer.isText(id) {
      text.append(contentsOf: tokenizer.bytes(of: id))
    } else {
      pending += tokenizer.bytes(of: id)
      text.append(contentsOf: takeText(keeping: Self.unfinishedCount(pending)).utf8)
    }
  }

  /// The text that several tokens complete.
  package mutating func append(_ ids: some Sequence<Int32>) -> String {
    for id in ids where !(skipsControlTokens && tokenizer.isControlToken(id)) {
      pending += tokenizer.bytes(of: id)
    }
    return takeText(keeping: Self.unfinishedCount(pending))
  }

  /// What is left when no more tokens come: U+FFFD for an unfinished character, else nothing.
  package mutating func flush() -> String { takeText(keeping: 0) }

  private mutating func takeText(keeping count: Int) -> String {
    let text = String(decoding: pending.dropLast(count), as: UTF8.self)
    pending.removeFirst(pending.count - count)
    return text
  }

  /// How many bytes at the end are the valid start of a character (Unicode table 3-7).
  private static func unfinishedCount(_ bytes: [UInt8]) -> Int {
    for count in 1...3 where count <= bytes.count {
      let lead = bytes[bytes.count - count]
      if lead & 0xC0 == 0x80 { continue }
      let length = lead < 0xC2 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 1
      guard length > count else { return 0 }
      return count == 1 || isSecond(bytes[bytes.count - count + 1], after: lead) ? count : 0
    }
    return 0
  }

  /// Whether a continuation byte may follow that lead byte: no overlong form, no surrogate and
  /// nothing over U+10FFFF.
  private static func isSecond(_ byte: UInt8, after lead: UInt8) -> Bool {
    switch lead {
    case 0xE0: byte >= 0xA0
    case 0xED: byte < 0xA0
    case 0xF0: byte >= 0x90
    case 0xF4: byte < 0x90
    default: true
    }
  }
}
