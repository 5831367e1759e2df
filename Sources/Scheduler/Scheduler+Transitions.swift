// SPDX-License-Identifier: Apache-2.0

import Cache
import Step
import Support

/// How sequences move between queue, batch and end. Nothing else moves them.
extension Scheduler {
  /// From the queue into the batch.
  mutating func join(_ slot: Int, now: Nanoseconds) {
    leaveQueues(slot)
    sequences[slot].phase = .running
    running.insert(slot, rank: sequences[slot].rank)
    throughput.record(promptTokens: sequences[slot].promptCount, now: now)
  }

  /// From the batch into the queue without its blocks; what they held is computed again, as far
  /// as it is not found in the cache.
  mutating func preempt(_ slot: Int) {
    leaveQueues(slot)
    dropBlocks(slot)
    sequences[slot].preemptionCount += 1
    if sequences[slot].preemptionCount >= configuration.preemptionCountMax {
      sequences[slot].rank.isShielded = true
    }
    sequences[slot].phase = .waiting
    waiting.insert(slot, rank: sequences[slot].rank)
    waitingPromptTokens += sequences[slot].promptCount
    hasPreempted = true
  }

  /// From queue or batch to where it waits for an allowance.
  mutating func pause(_ slot: Int) {
    leaveQueues(slot)
    sequences[slot].phase = .paused
    pausedCount += 1
    waitingPromptTokens += sequences[slot].promptCount
  }

  /// Into the queue, to join the batch again.
  mutating func unpause(_ slot: Int) {
    leaveQueues(slot)
    sequences[slot].phase = .waiting
    waiting.insert(slot, rank: sequences[slot].rank)
    waitingPromptTokens += sequences[slot].promptCount
  }

  /// Takes all blocks of a sequence that no step uses.
  mutating func dropBlocks(_ slot: Int) {
    check(sequences[slot].inFlightCount == 0, "blocks are taken from a step under way")
    register(slot)
    cache.release(&sequences[slot].table)
    sequences[slot].computedCount = 0
    sequences[slot].plannedCount = 0
    if sequences[slot].firstStepTime == nil {
      sequences[slot].cachedCount = 0
    } else {
      sequences[slot].hasLostBlocks = true
    }
  }

  /// To its end, at once or when no step uses it.
  mutating func end(slot: Int, _ reason: FinishReason, now: Nanoseconds) {
    beginEnding(slot, reason)
    if sequences[slot].inFlightCount == 0 { finish(slot, now: now) }
  }

  /// Out of queue and batch for good.
  mutating func beginEnding(_ slot: Int, _ reason: FinishReason) {
    leaveQueues(slot)
    sequences[slot].phase = .ending(reason)
    waitingPromptTokens += sequences[slot].promptCount
  }

  /// Lets go of an ending sequence, with its only `.finished` event.
  mutating func finish(_ slot: Int, now: Nanoseconds) {
    guard case .ending(let reason) = sequences[slot].phase else { return }
    register(slot)
    cache.release(&sequences[slot].table)
    waitingPromptTokens -= sequences[slot].promptCount
    events.append(.finished(sequences[slot].id, reason, sequences[slot].account(now: now)))
    sequences.remove(slot)
  }

  /// Out of queue and batch; the caller says where to.
  mutating func leaveQueues(_ slot: Int) {
    let state = sequences[slot]
    switch state.phase {
    case .running:
      running.remove(rank: state.rank)
    case .waiting:
      waiting.remove(rank: state.rank)
      waitingPromptTokens -= state.promptCount
    case .paused:
      pausedCount -= 1
      waitingPromptTokens -= state.promptCount
    case .ending:
      checkFailed("\(state.id) leaves the queues twice", file: #fileID, line: #line)
    }
  }

  /// Changes the rank of a sequence where it is.
  mutating func setRank(_ slot: Int, _ change: (inout Rank) -> Void) {
    let old = sequences[slot].rank
    change(&sequences[slot].rank)
    let new = sequences[slot].rank
    switch sequences[slot].phase {
    case .running:
      running.remove(rank: old)
      running.insert(slot, rank: new)
    case .waiting:
      waiting.remove(rank: old)
      waiting.insert(slot, rank: new)
    case .paused, .ending:
      break
    }
  }
}
