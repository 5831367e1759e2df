// SPDX-License-Identifier: Apache-2.0

import Step

/// Whether a model is between its `<think>` and `</think>`, and whether it shall stop.
///
/// Thinking begins and ends with single tokens (DeepSeek-R1, V3.1 and their distills), in the
/// prompt or in the output.
struct ThinkingState: Sendable {
  private let tokens: ThinkingTokens
  private var isThinking = false
  private var shallEnd = false

  init(_ tokens: ThinkingTokens, prompt: [Int32]) {
    self.tokens = tokens
    isThinking = tokens.areOpen(after: prompt)
  }

  /// What the next token has to be, if that is not for the model to say.
  var forcedToken: Int32? { shallEnd ? endToken : nil }

  var endToken: Int32 { tokens.end }

  mutating func requestEnd() { shallEnd = isThinking }

  mutating func note(_ token: Int32) {
    if token == tokens.begin { isThinking = true }
    guard token == tokens.end else { return }
    isThinking = false
    shallEnd = false
  }
}
