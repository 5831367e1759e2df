// SPDX-License-Identifier: Apache-2.0

/// How the tokens of a sequence are drawn; the neutral values leave the model's distribution as it
/// is. `validate` says which values are allowed, `Sampling` what they do and in which order.
package struct SamplingParameters: Hashable, Sendable {
  /// 0 is greedy.
  package var temperature: Float = 1
  /// Keep the smallest set of tokens whose probabilities sum to this.
  package var topP: Float = 1
  /// Keep this many most likely tokens; 0 keeps all.
  package var topK = 0
  /// Keep tokens at least this many times as likely as the likeliest.
  package var minP: Float = 0
  /// Divides positive and multiplies negative logits of tokens seen in prompt or output.
  package var repetitionPenalty: Float = 1
  /// Subtracted from the logits of tokens seen in the output.
  package var presencePenalty: Float = 0
  /// Subtracted once for each time a token was seen in the output.
  package var frequencyPenalty: Float = 0
  /// Added to logits; each token at most once.
  package var logitBias: [TokenBias] = []
  package var seed: UInt64 = 0
  /// Which of a request's choices this is: choices of one seed differ by it.
  package var choice: UInt32 = 0
  /// How many most likely tokens to report beside the chosen one; nil reports nothing.
  package var logprobs: Int?

  package init() {}

  /// `logprobs`, at most.
  package static let logprobsMax = LogitReport.topMax

  /// Whether logits depend on the tokens before.
  package var hasPenalties: Bool {
    repetitionPenalty != 1 || presencePenalty != 0 || frequencyPenalty != 0
  }
}

/// A number added to one token's logit.
package struct TokenBias: Hashable, Sendable {
  package var token: Int32
  package var bias: Float

  package init(token: Int32, bias: Float) {
    self.token = token
    self.bias = bias
  }
}

/// When a sequence ends by itself, as far as token ids tell (stop strings need text).
package struct StoppingParameters: Hashable, Sendable {
  /// Tokens to generate, at most; nil: as many as the context and the cache have room for.
  package var maxTokens: Int?
  /// Tokens to generate before a stop token counts; until then stop tokens are not drawn.
  package var minTokens = 0
  /// The model's end tokens, unless they are ignored, and the request's own.
  package var stopTokens: [Int32] = []

  package init(maxTokens: Int? = nil, minTokens: Int = 0, stopTokens: [Int32] = []) {
    self.maxTokens = maxTokens
    self.minTokens = minTokens
    self.stopTokens = stopTokens
  }
}
