// SPDX-License-Identifier: Apache-2.0

/// A token with a text of its own, found before the text is cut and merged.
struct AddedToken {
  var id: Int32
  var content: String
  /// Hugging Face drops these from decoded text when asked to "skip special tokens".
  var isSpecial: Bool
  /// Takes the white space before it with it.
  var stripsLeft: Bool
  /// Takes the white space behind it with it.
  var stripsRight: Bool
  /// Only between characters that are no part of a word.
  var isSingleWord: Bool
  /// Looked for in normalized text, by its own normalized text.
  var isNormalized: Bool

  /// Whether it steers the model instead of being part of an answer: special tokens, and those
  /// written like `<｜User｜>` or `<|im_start|>`, which some tokenizers do not mark as special.
  /// `<think>` and `</think>` are text of the answer.
  var isControl: Bool {
    isSpecial || (content.hasPrefix("<｜") && content.hasSuffix("｜>"))
      || (content.hasPrefix("<|") && content.hasSuffix("|>"))
  }
}

/// Finds added tokens in text: a trie over their bytes. At each place, the longest one counts.
struct AddedTokenMatcher {
  /// Text between added tokens, or one of them.
  enum Part {
    case text(Range<Int>)
    case token(Int32)
  }

  private struct Node {
    var children: [UInt8: Int32] = [:]
    /// The index of the token that ends here; -1 if none.
    var token = -1
  }

  private let tokens: [AddedToken]
  private var nodes = [Node()]
  /// Whether a token starts with that byte.
  private var starts = [Bool](repeating: false, count: 256)

  /// - Parameter tokens: with the text to look for; of two with the same, the first counts.
  init(_ tokens: [(token: AddedToken, text: [UInt8])]) {
    self.tokens = tokens.map(\.token)
    for (index, entry) in tokens.enumerated() where !entry.text.isEmpty {
      insert(entry.text, index)
    }
  }

  private mutating func insert(_ text: [UInt8], _ index: Int) {
    starts[Int(text[0])] = true
    var node = 0
    for byte in text {
      if let child = nodes[node].children[byte] {
        node = Int(child)
      } else {
        nodes[node].children[byte] = Int32(nodes.count)
        node = nodes.count
        nodes.append(Node())
      }
    }
    if nodes[node].token < 0 { nodes[node].token = index }
  }

  /// Cuts text into what lies between the tokens, and the tokens, in order.
  func parts(of text: [UInt8]) -> [Part] {
    var parts: [Part] = []
    var (position, start) = (0, 0)
    while position < text.count {
      guard starts[Int(text[position])], let (token, end) = longestMatch(in: text, at: position)
      else {
        position += 1
        continue
      }
      let matchStart = position
      position = end
      if token.isSingleWord && !standsAlone(matchStart..<end, in: text) { continue }
      let range = withWhiteSpace(matchStart..<end, of: token, in: text, from: start)
      if start < range.lowerBound { parts.append(.text(start..<range.lowerBound)) }
      parts.append(.token(token.id))
      start = range.upperBound
    }
    if start < text.count { parts.append(.text(start..<text.count)) }
    return parts
  }

  private func longestMatch(in text: [UInt8], at start: Int) -> (AddedToken, Int)? {
    var (node, position) = (0, start)
    var best: (Int, Int)?
    while position < text.count, let child = nodes[node].children[text[position]] {
      node = Int(child)
      position += 1
      if nodes[node].token >= 0 { best = (nodes[node].token, position) }
    }
    return best.map { (tokens[$0.0], $0.1) }
  }

  private func standsAlone(_ range: Range<Int>, in text: [UInt8]) -> Bool {
    let isFree =
      range.lowerBound == 0
      || !UTF8Text.scalar(in: text, endingAt: range.lowerBound).0.isWordCharacter
    return isFree
      && (range.upperBound == text.count
        || !UTF8Text.scalar(in: text, at: range.upperBound).0.isWordCharacter)
  }

  private func withWhiteSpace(
    _ range: Range<Int>, of token: AddedToken, in text: [UInt8], from first: Int
  ) -> Range<Int> {
    var (start, end) = (range.lowerBound, range.upperBound)
    while token.stripsLeft && start > first {
      let (scalar, length) = UTF8Text.scalar(in: text, endingAt: start)
      guard scalar.properties.isWhitespace else { break }
      start -= length
    }
    while token.stripsRight && end < text.count {
      let (scalar, length) = UTF8Text.scalar(in: text, at: end)
      guard scalar.properties.isWhitespace else { break }
      end += length
    }
    return start..<end
  }
}
