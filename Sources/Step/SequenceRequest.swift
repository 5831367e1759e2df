// SPDX-License-Identifier: Apache-2.0

package import Support

/// A point in time or a span of it, in nanoseconds. Points count from any fixed moment.
package typealias Nanoseconds = UInt64

/// A sequence to generate, as the scheduler takes it.
package struct SequenceRequest: Hashable, Sendable {
  package var id: SequenceID
  /// At least one token.
  package var prompt: [Int32]
  package var stopping: StoppingParameters
  /// Larger goes first; equals go in order of arrival.
  package var priority: Int32
  /// When it ends with `.deadline`, finished or not.
  package var deadline: Nanoseconds?
  /// Tokens to generate before it is paused, until `Scheduler.allow` says otherwise.
  package var tokenAllowance: Int
  /// Whether to give the logits of each token of the prompt, and to generate nothing: its plans
  /// ask for all outputs, their outcomes are `.computed`, and it ends with `.length`.
  package var isScoring: Bool

  package init(
    id: SequenceID, prompt: [Int32], stopping: StoppingParameters, priority: Int32 = 0,
    deadline: Nanoseconds? = nil, tokenAllowance: Int = .max, isScoring: Bool = false
  ) {
    self.id = id
    self.prompt = prompt
    self.stopping = stopping
    self.priority = priority
    self.deadline = deadline
    self.tokenAllowance = tokenAllowance
    self.isScoring = isScoring
  }
}

/// Why a sequence was not taken in; nothing was spent on it.
package enum AdmissionError: OperatingError, Hashable {
  /// The request can never run here, at any load.
  case unfit(field: String, message: String)
  /// It can run, but not now.
  case full(QueueLimit, holds: Int, limit: Int, retryDelay: Nanoseconds)

  package var code: ErrorCode {
    switch self {
    case .unfit: .invalidArgument
    case .full: .resourceExhausted
    }
  }

  package var message: String {
    switch self {
    case .unfit(_, let message): message
    case .full(.sequences, let holds, let limit, _):
      "the waiting queue is full: it holds \(holds) sequences of at most \(limit)"
    case .full(.promptTokens, let holds, let limit, _):
      "the waiting queue is full: it holds \(holds) prompt tokens of at most \(limit)"
    }
  }
}

/// What the waiting queue counts.
package enum QueueLimit: Hashable, Sendable {
  case sequences, promptTokens
}
