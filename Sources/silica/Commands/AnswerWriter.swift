// SPDX-License-Identifier: Apache-2.0

/// Writes what a model says as it comes: its answer to standard output, its thoughts to standard
/// error, dimmed where a person watches.
struct AnswerWriter {
  /// The answer so far, without the thoughts.
  private(set) var answer = ""
  private var splitter = ThoughtSplitter(isThinking: false)
  private var isShowingThoughts = false

  /// The generation begins; see `Accepted.thinking`.
  mutating func begin(isThinking: Bool) { splitter = ThoughtSplitter(isThinking: isThinking) }

  mutating func write(_ text: String) {
    for part in splitter.split(text) {
      if part.isThought != isShowingThoughts { change() }
      if part.isThought {
        Console.error(String(part.text))
      } else {
        answer += part.text
        Console.out(String(part.text))
      }
    }
  }

  /// Ends the last line.
  mutating func finish() {
    if isShowingThoughts { change() }
    Console.out("\n")
  }

  private mutating func change() {
    isShowingThoughts.toggle()
    let dim = Console.errorIsTerminal ? "\u{1B}[2m" : ""
    let plain = Console.errorIsTerminal ? "\u{1B}[0m" : ""
    Console.error(isShowingThoughts ? "\(dim)<think>\n" : "\n</think>\(plain)\n")
  }
}
