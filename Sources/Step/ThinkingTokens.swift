// SPDX-License-Identifier: Apache-2.0

/// The tokens between which a model thinks before it answers: `<think>` and `</think>`.
package struct ThinkingTokens: Hashable, Sendable {
  package var begin: Int32
  package var end: Int32

  package init(begin: Int32, end: Int32) {
    self.begin = begin
    self.end = end
  }

  /// Whether the model is thinking after these tokens.
  package func areOpen(after tokens: [Int32]) -> Bool {
    tokens.last { $0 == begin || $0 == end } == begin
  }
}
