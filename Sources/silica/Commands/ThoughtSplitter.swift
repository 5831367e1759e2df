// SPDX-License-Identifier: Apache-2.0

/// Tells a model's thoughts from its answer in a text that comes in pieces.
///
/// `<think>` and `</think>` are single tokens, so none is cut between two pieces.
struct ThoughtSplitter {
  struct Part: Equatable {
    var isThought: Bool
    var text: Substring
  }

  private var isThinking: Bool
  /// Whether nothing but white space came since a tag: it stands for nothing.
  private var isAtStart: Bool

  /// - Parameter isThinking: whether the text begins inside of thinking (`Accepted.thinking`).
  init(isThinking: Bool) {
    self.isThinking = isThinking
    isAtStart = isThinking
  }

  /// The parts of the next piece, without tags and without empty ones.
  mutating func split(_ piece: String) -> [Part] {
    var parts: [Part] = []
    var rest = piece[...]
    while let tag = rest.firstRange(of: isThinking ? "</think>" : "<think>") {
      add(rest[..<tag.lowerBound], to: &parts)
      rest = rest[tag.upperBound...]
      isThinking.toggle()
      isAtStart = true
    }
    add(rest, to: &parts)
    return parts
  }

  private mutating func add(_ text: Substring, to parts: inout [Part]) {
    let shown = isAtStart ? text.drop(while: \.isWhitespace) : text
    guard !shown.isEmpty else { return }
    isAtStart = false
    parts.append(Part(isThought: isThinking, text: shown))
  }
}
