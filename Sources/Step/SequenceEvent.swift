// SPDX-License-Identifier: Apache-2.0

/// Something that happened to a sequence. The events of one sequence come in order, and the last
/// is its only `.finished`, which is kept elsewhere, so that the many others are small.
package enum SequenceEvent: Hashable, Sendable {
  /// So many sequences go before it in the waiting queue; it has not begun.
  case queued(SequenceID, position: Int)
  /// So many tokens of the prompt are in the cache, found there or computed; more are to come.
  case prefilled(SequenceID, tokens: Int)
  /// The next token; `index` counts from 0. A stop token comes, too.
  case token(SequenceID, index: Int, SampledToken)
  indirect case finished(SequenceID, FinishReason, SequenceAccount)
}

extension SequenceEvent {
  /// The sequence it is about.
  package var id: SequenceID {
    switch self {
    case .queued(let id, _), .prefilled(let id, _), .token(let id, _, _), .finished(let id, _, _):
      id
    }
  }

  /// Whether it is the last of its sequence.
  package var isEnd: Bool { if case .finished = self { true } else { false } }
}

/// Why a sequence ended.
package enum FinishReason: Hashable, Sendable {
  case stopToken(Int32)
  /// A stop string, seen by whoever turns tokens into text.
  case stopString
  /// `max_tokens`, or the end of the context.
  case length
  case cancelled
  case deadline
  case failed(SequenceError)
}

/// What a sequence took.
package struct SequenceAccount: Hashable, Sendable {
  package var promptTokens = 0
  /// Tokens of the prompt whose keys and values were already in the cache.
  package var cachedTokens = 0
  package var generatedTokens = 0
  /// From its arrival to its first step.
  package var queueTime: Nanoseconds = 0
  /// From its first step to its first token.
  package var prefillTime: Nanoseconds = 0
  /// From its first token to its end.
  package var decodeTime: Nanoseconds = 0
  /// How often it had to leave the batch for want of blocks, and was computed again.
  package var preemptionCount = 0

  package init() {}
}
