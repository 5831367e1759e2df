// SPDX-License-Identifier: Apache-2.0

import Cache
package import Step
import Support

extension Scheduler {
  /// Takes the result of the oldest plan under way, or of its next sequences; it is over with that
  /// of the last one.
  package mutating func complete(_ result: StepResult, now: Nanoseconds) {
    guard let plan = inFlight.first, plan.id == result.planID else {
      checkFailed(
        "plan \(result.planID) is complete, and \(inFlight.first?.id ?? 0) is the oldest",
        file: #fileID, line: #line)
    }
    let entries = plan.entries[plan.completedCount...]
    check(
      result.outcomes.count <= entries.count,
      "\(result.outcomes.count) outcomes for \(entries.count) sequences")
    if result.outcomes.count == entries.count {
      inFlight.removeFirst()
    } else {
      inFlight[0].completedCount += result.outcomes.count
    }
    events.reserveCapacity(events.count + result.outcomes.count)
    for (entry, outcome) in zip(entries, result.outcomes) {
      sequences[entry.slot].inFlightCount -= 1
      if !sequences[entry.slot].isEnding { apply(outcome, to: entry, now: now) }
      if sequences[entry.slot].inFlightCount == 0 {
        cache.releaseExchanged(&sequences[entry.slot].table)
        if sequences[entry.slot].isEnding { finish(entry.slot, now: now) }
      }
    }
  }

  private mutating func apply(
    _ outcome: SequenceOutcome, to entry: PlanInFlight.Entry, now: Nanoseconds
  ) {
    let slot = entry.slot
    switch outcome {
    case .failed(let error):
      beginEnding(slot, .failed(error))
    case .computed:
      check(!entry.hasToken, "\(sequences[slot].id) has no token")
      noteComputed(slot, rowCount: entry.rowCount)
      let computed = sequences[slot].computedCount
      if sequences[slot].generatedCount == 0 {
        events.append(.prefilled(sequences[slot].id, tokens: computed))
      }
      if sequences[slot].isScoring, computed == sequences[slot].promptCount {
        beginEnding(slot, .length)
      }
    case .sampled(let token):
      check(entry.hasToken, "\(sequences[slot].id) has a token amid its prompt")
      noteComputed(slot, rowCount: entry.rowCount)
      events.append(
        .token(sequences[slot].id, index: sequences[slot].generatedCount, token))
      sequences[slot].tokens.append(token.id)
      if sequences[slot].firstTokenTime == nil { sequences[slot].firstTokenTime = now }
      if let reason = sequences[slot].finishReason {
        beginEnding(slot, reason)
      } else if sequences[slot].isOutOfAllowance, !sequences[slot].isPaused {
        pause(slot)
      }
    }
  }

  private mutating func noteComputed(_ slot: Int, rowCount: Int) {
    sequences[slot].computedCount += rowCount
    if cache.canRegister(
      sequences[slot].table, computedCount: sequences[slot].computedCount)
    {
      unregistered.append(slot)
    }
  }

  /// Tells the index of prefixes of the blocks that were computed since it was last told.
  mutating func registerComputed() {
    for slot in unregistered where sequences.holds(slot) {
      register(slot)
      if sequences[slot].inFlightCount == 0 { cache.releaseExchanged(&sequences[slot].table) }
    }
    unregistered.removeAll(keepingCapacity: true)
  }

  /// The same of one sequence, before it lets go of them.
  mutating func register(_ slot: Int) {
    let computed = sequences[slot].computedCount
    guard cache.canRegister(sequences[slot].table, computedCount: computed) else { return }
    let tokens = sequences[slot].tokens
    cache.register(&sequences[slot].table, tokens: tokens, computedCount: computed)
  }

}
