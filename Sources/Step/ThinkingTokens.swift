// SPDX-License-Identifier: Apache-2.0

/// The tokens between which a model thinks before it answers: `<think>` and `</think>`.
package struct ThinkingTokens: Hashable, Sendable {
  package var begin: Int32
  package var end: Int32

  package init(begin: Int32, end: Int32) {
    self.begin = begin
    self.end = end
  }
}
