// SPDX-License-Identifier: Apache-2.0

package import Step

/// A sequence that an engine is asked to generate. A request with `n` choices submits `n` of them.
package struct SequenceSubmission: Hashable, Sendable {
  /// At least one token.
  package var prompt: [Int32]
  package var sampling: SamplingParameters
  package var stopping: StoppingParameters
  /// Larger goes first among the waiting.
  package var priority: Int32
  /// On `Clock`: when it ends with `.deadline`, finished or not.
  package var deadline: Nanoseconds?
  /// Tokens to generate before it is paused, until `Engine.allow` says otherwise.
  package var tokenAllowance: Int
  /// For `SequenceUpdate.endsThinking`; nil if the model has no such tokens.
  package var thinking: ThinkingTokens?

  package init(
    prompt: [Int32], sampling: SamplingParameters = SamplingParameters(),
    stopping: StoppingParameters = StoppingParameters(), priority: Int32 = 0,
    deadline: Nanoseconds? = nil, tokenAllowance: Int = .max, thinking: ThinkingTokens? = nil
  ) {
    self.prompt = prompt
    self.sampling = sampling
    self.stopping = stopping
    self.priority = priority
    self.deadline = deadline
    self.tokenAllowance = tokenAllowance
    self.thinking = thinking
  }
}
