// SPDX-License-Identifier: Apache-2.0

import Cache
import Step

/// All that the scheduler knows of one sequence.
struct SequenceState: Sendable {
  enum Phase {
    /// In the waiting queue. It may hold blocks.
    case waiting
    /// In the batch.
    case running
    /// Neither, until it may generate more tokens. It may hold blocks.
    case paused
    /// Neither; it is finished when no step uses it.
    case ending(FinishReason)
  }

  let id: SequenceID
  let promptCount: Int
  let arrival: Nanoseconds
  var rank: Rank
  var phase = Phase.waiting
  var deadline: Nanoseconds?
  var maxTokens: Int
  /// With so many tokens generated, it is paused.
  var tokenAllowance: Int
  let minTokens: Int
  let stopTokens: [Int32]
  let isScoring: Bool

  /// Prompt and generated tokens.
  var tokens: [Int32]
  var table = BlockTable()
  /// Leading tokens whose keys and values are in the cache.
  var computedCount = 0
  /// Leading tokens that are computed or part of a plan under way.
  var plannedCount = 0
  /// Plans under way that it is part of.
  var inFlightCount = 0
  /// The last plan that it was part of.
  var lastPlan: UInt64 = 0
  /// The place in the queue that was told last.
  var reportedPosition: Int?

  var firstStepTime: Nanoseconds?
  var firstTokenTime: Nanoseconds?
  var cachedCount = 0
  var preemptionCount = 0
  /// Whether blocks were taken from it after its first step: it may find them in the cache again,
  /// and these were not there at first.
  var hasLostBlocks = false

  init(_ request: SequenceRequest, maxTokens: Int, order: UInt64, now: Nanoseconds) {
    id = request.id
    promptCount = request.prompt.count
    arrival = now
    rank = Rank(priority: request.priority, order: order)
    deadline = request.deadline
    self.maxTokens = maxTokens
    tokenAllowance = request.tokenAllowance
    minTokens = request.stopping.minTokens
    stopTokens = request.stopping.stopTokens
    isScoring = request.isScoring
    tokens = request.prompt
  }

  var generatedCount: Int { tokens.count - promptCount }

  /// Tokens that are known and not planned. Zero while the next token is being computed.
  var remainingCount: Int { tokens.count - plannedCount }

  /// Whether all but its newest token is computed; otherwise it prefills.
  var isDecoding: Bool { generatedCount > 0 && computedCount >= tokens.count - 1 }

  /// Whether it has generated all that it may for now.
  var isOutOfAllowance: Bool { !isScoring && generatedCount >= tokenAllowance }

  var isRunning: Bool { if case .running = phase { true } else { false } }
  var isPaused: Bool { if case .paused = phase { true } else { false } }
  var isEnding: Bool { if case .ending = phase { true } else { false } }

  /// Why the sequence ends with a token that was just appended, if it does.
  var finishReason: FinishReason? {
    if let last = tokens.last, generatedCount > minTokens, stopTokens.contains(last) {
      return .stopToken(last)
    }
    return generatedCount >= maxTokens ? .length : nil
  }

  func account(now: Nanoseconds) -> SequenceAccount {
    var account = SequenceAccount()
    account.promptTokens = promptCount
    account.cachedTokens = cachedCount
    account.generatedTokens = generatedCount
    account.preemptionCount = preemptionCount
    let firstStep = firstStepTime ?? now
    let firstToken = firstTokenTime ?? now
    account.queueTime = span(from: arrival, to: firstStep)
    account.prefillTime = span(from: firstStep, to: firstToken)
    account.decodeTime = span(from: firstToken, to: now)
    return account
  }
}

/// The time between two moments; none when the clock went back.
func span(from start: Nanoseconds, to end: Nanoseconds) -> Nanoseconds {
  end > start ? end - start : 0
}
