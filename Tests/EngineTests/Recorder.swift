// SPDX-License-Identifier: Apache-2.0

import Engine
import Glibc
import Step
import Support
import Synchronization

/// A sink that keeps all events, for a test to wait on.
final class Recorder: SequenceSink {
  struct Outcome: Sendable {
    var tokens: [Int32] = []
    var prefilled: [Int] = []
    var queuePositions: [Int] = []
    var reasons: [FinishReason] = []
    var account = SequenceAccount()
    var logprobs: [TokenLogprobs?] = []
  }

  private struct State {
    var outcomes: [SequenceID: Outcome] = [:]
    var isOutOfOrder = false
  }

  private let state = Mutex(State())

  func deliver(_ events: [SequenceEvent], stepEnd: Nanoseconds) {
    for event in events { take(event) }
  }

  private func take(_ event: SequenceEvent) {
    state.withLock { state in
      switch event {
      case .queued(let id, let position):
        state.outcomes[id, default: Outcome()].queuePositions.append(position)
      case .prefilled(let id, let tokens):
        state.outcomes[id, default: Outcome()].prefilled.append(tokens)
      case .token(let id, let index, let token):
        var outcome = state.outcomes[id] ?? Outcome()
        if index != outcome.tokens.count || !outcome.reasons.isEmpty { state.isOutOfOrder = true }
        outcome.tokens.append(token.id)
        outcome.logprobs.append(token.logprobs)
        state.outcomes[id] = outcome
      case .finished(let id, let reason, let account):
        state.outcomes[id, default: Outcome()].reasons.append(reason)
        state.outcomes[id]?.account = account
      }
    }
  }

  /// Whether each token came once, in its place, and before the end.
  var isInOrder: Bool { state.withLock { !$0.isOutOfOrder } }
  var finishedCount: Int {
    state.withLock { state in state.outcomes.values.count { !$0.reasons.isEmpty } }
  }

  func outcome(_ id: SequenceID) -> Outcome { state.withLock { $0.outcomes[id] ?? Outcome() } }

  /// Waits until a sequence has ended, and gives what it got.
  func finished(_ id: SequenceID) -> Outcome {
    waitUntil { !self.outcome(id).reasons.isEmpty }
    return outcome(id)
  }
}

/// Waits for a condition, at most twenty seconds; whether it came true.
@discardableResult
func waitUntil(_ condition: () -> Bool) -> Bool {
  let deadline = Clock.nowNanoseconds + 20_000_000_000
  while Clock.nowNanoseconds < deadline {
    if condition() { return true }
    usleep(300)
  }
  return condition()
}
