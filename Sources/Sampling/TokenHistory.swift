// SPDX-License-Identifier: Apache-2.0

/// Which tokens a sequence holds, and how often its output does; kept for penalties only.
struct TokenHistory: Sendable {
  struct Entry: Sendable {
    let token: Int32
    /// Times it was generated; 0 for a token of the prompt alone.
    var outputCount: Int32
  }

  /// In order of first appearance. Walked instead of the dictionary, whose order is random.
  private(set) var entries: [Entry] = []
  private var entryOfToken: [Int32: Int] = [:]

  init(prompt: [Int32]) {
    for token in prompt { note(token, generated: 0) }
  }

  mutating func append(_ token: Int32) { note(token, generated: 1) }

  private mutating func note(_ token: Int32, generated: Int32) {
    if let entry = entryOfToken[token] {
      entries[entry].outputCount += generated
    } else {
      entryOfToken[token] = entries.count
      entries.append(Entry(token: token, outputCount: generated))
    }
  }
}
