// SPDX-License-Identifier: Apache-2.0

package import Support

/// What came of a step, or of a part of it: plain data, made by the engine when every executor is
/// done and the outputs are sampled.
package struct StepResult: Hashable, Sendable {
  package var planID: UInt64
  /// One for each sequence of the plan, or for the next of them, in its order.
  package var outcomes: [SequenceOutcome]

  package init(planID: UInt64, outcomes: [SequenceOutcome]) {
    self.planID = planID
    self.outcomes = outcomes
  }
}

/// What a step did for one of its sequences.
package enum SequenceOutcome: Hashable, Sendable {
  /// Its rows were computed; no token was asked for.
  case computed
  /// Its rows were computed, and the next token is this.
  case sampled(SampledToken)
  /// The sequence cannot go on; others are not concerned.
  case failed(SequenceError)
}

/// A token drawn for a sequence.
package struct SampledToken: Hashable, Sendable {
  package var id: Int32
  /// If asked for.
  package var logprobs: TokenLogprobs?

  package init(id: Int32, logprobs: TokenLogprobs? = nil) {
    self.id = id
    self.logprobs = logprobs
  }
}

/// How likely a token was by the model alone, before any sampling parameter.
package struct TokenLogprobs: Hashable, Sendable {
  /// Natural logarithm of the chosen token's probability.
  package var chosen: Float
  /// The most likely tokens in falling order; equals in order of their ids.
  package var top: [TokenLogprob]

  package init(chosen: Float, top: [TokenLogprob]) {
    self.chosen = chosen
    self.top = top
  }
}

/// The natural logarithm of a token's probability.
package struct TokenLogprob: Hashable, Sendable {
  package var token: Int32
  package var logprob: Float

  package init(token: Int32, logprob: Float) {
    self.token = token
    self.logprob = logprob
  }
}

/// The failure of one sequence.
package struct SequenceError: OperatingError, Hashable {
  package var code: ErrorCode
  package var message: String

  package init(_ code: ErrorCode, _ message: String) {
    self.code = code
    self.message = message
  }
}
