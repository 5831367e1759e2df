// SPDX-License-Identifier: Apache-2.0

package import Cache
package import Step
import Support

/// Decides who runs in each step: a pure function of commands, results and times.
///
/// The engine gives commands (`enqueue`, `end`, `update`, `allow`), asks for plans while
/// `plan` returns some, hands each plan's result to `complete` in the order of the plans, whole or
/// in parts, and takes the events after any of these. The same calls give the same plans and
/// events, bit for bit.
package struct Scheduler: Sendable {
  package let configuration: SchedulerConfiguration
  package internal(set) var cache: KVCache
  var sequences = SequenceSlab()
  /// The batch.
  var running = RankedQueue()
  var waiting = RankedQueue()
  /// Sequences that have generated all that they may for now.
  var pausedCount = 0
  /// Prompt tokens of all sequences outside the batch.
  var waitingPromptTokens = 0
  /// Plans under way, oldest first.
  var inFlight: [PlanInFlight] = []
  var nextPlanID: UInt64 = 1
  var nextOrder: UInt64 = 0
  /// When to look for passed deadlines: not later than the earliest of them.
  package internal(set) var nextDeadline: Nanoseconds?
  /// Whether the plan being made took blocks from a running sequence.
  var hasPreempted = false
  var throughput = ThroughputEstimate()
  /// Sequences some of whose computed blocks the index of prefixes does not know yet: it is told
  /// before the next plan, and not while the tokens of a step wait to be delivered.
  var unregistered: [Int] = []
  var events: [SequenceEvent] = []

  package init(_ configuration: SchedulerConfiguration) {
    configuration.checkRanges()
    self.configuration = configuration
    cache = KVCache(
      blockTokens: configuration.blockTokens, blockCount: configuration.blockCount,
      sliceCount: configuration.contextSlices)
  }

  /// What happened since the last call, in order. At most a few for each sequence and call.
  package mutating func takeEvents() -> [SequenceEvent] {
    var taken: [SequenceEvent] = []
    swap(&taken, &events)
    return taken
  }

  /// Sequences that have not finished.
  package var sequenceCount: Int { sequences.count }
  package var planInFlightCount: Int { inFlight.count }
  package var load: SchedulerLoad {
    SchedulerLoad(
      running: running.count, waiting: waiting.count, paused: pausedCount,
      cacheUsed: Double(cache.usedCount) / Double(cache.blockCount * cache.sliceCount))
  }

  /// When one more sequence will have left the waiting queue, as far as the last seconds tell.
  package func retryDelay(now: Nanoseconds) -> Nanoseconds {
    throughput.delay(sequences: 1, promptTokens: 0, now: now)
  }

  /// Tells each sequence that has not begun its place in the queue, if that is another than was
  /// told last. Linear in the queue: call it a few times a second.
  package mutating func reportQueue() {
    for (position, slot) in waiting.slots.enumerated()
    where sequences[slot].firstStepTime == nil && sequences[slot].reportedPosition != position {
      sequences[slot].reportedPosition = position
      events.append(.queued(sequences[slot].id, position: position))
    }
  }
}

/// How busy a scheduler is.
package struct SchedulerLoad: Hashable, Sendable {
  package var running: Int
  package var waiting: Int
  package var paused: Int
  /// The part of the cache's blocks that sequences hold, 0 to 1.
  package var cacheUsed: Double
}

/// What the scheduler keeps of a plan until its result comes.
struct PlanInFlight: Sendable {
  struct Entry: Sendable {
    var slot: Int
    var rowCount: Int
    /// Whether a token is to come.
    var hasToken: Bool
  }

  var id: UInt64
  var entries: [Entry]
  /// Of how many the result has come.
  var completedCount = 0
}
