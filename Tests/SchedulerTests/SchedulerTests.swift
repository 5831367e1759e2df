// SPDX-License-Identifier: Apache-2.0

import Cache
import Scheduler
import Step
import Support
import Testing

@Suite struct SchedulerTests {
  @Test("A prompt is computed in chunks, and running sequences get a token in each step")
  func chunkedPrefillDoesNotStallDecodes() throws {
    let bench = Bench { $0.prefillChunkMax = 10 }
    try bench.enqueue(1, prompt: prompt(5))
    let first = try #require(bench.plan())
    #expect(first.rowCounts == [1: 5])
    #expect(first.sequences[0].outputs == .last)
    bench.complete()
    try bench.enqueue(2, prompt: prompt(25, 100))
    for rows in [10, 10, 5] {
      let plan = try #require(bench.plan())
      #expect(plan.rowCounts == [1: 1, 2: rows])
      #expect(plan.sequences[0].id == SequenceID(1))
      #expect(plan.sequences[1].outputs == (rows == 5 ? .last : .none))
      bench.complete()
    }
    bench.finish()
    #expect(bench.tokens(1) == bench.model.continuation(of: prompt(5), count: 8))
    #expect(bench.tokens(2) == bench.model.continuation(of: prompt(25, 100), count: 8))
    #expect(bench.events.contains(.prefilled(SequenceID(2), tokens: 20)))
  }

  @Test("Choices of one prompt compute it once and share its blocks")
  func choicesShareTheirPrompt() throws {
    let bench = Bench()
    let requests = (1...4).map {
      SequenceRequest(
        id: SequenceID($0), prompt: prompt(21), stopping: StoppingParameters(maxTokens: 3))
    }
    try bench.scheduler.enqueue(requests, now: 0)
    #expect(try #require(bench.plan()).rowCounts == [1: 21])
    bench.complete()
    #expect(try #require(bench.plan()).rowCounts == [1: 1, 2: 1, 3: 1, 4: 1])
    #expect(bench.scheduler.cache.usedCount == 5 + 4)
    bench.complete()
    bench.finish()
    for id in UInt64(1)...4 {
      #expect(bench.tokens(id) == bench.model.continuation(of: prompt(21), count: 3))
      #expect(bench.end(id)?.account.cachedTokens == (id == 1 ? 0 : 20))
    }
  }

  @Test("A next turn reuses the blocks of the one before, generated tokens included")
  func conversationsReuseTheirBlocks() throws {
    let bench = Bench()
    try bench.enqueue(1, prompt: prompt(10))
    bench.finish()
    let turn = prompt(10) + bench.tokens(1) + [5, 6, 7]
    try bench.enqueue(2, prompt: turn)
    let plan = try #require(bench.plan())
    // 17 tokens were computed: the last of 18 was not. 4 blocks are full.
    #expect(plan.sequences[0].firstPosition == 16)
    bench.complete()
    bench.finish()
    #expect(bench.tokens(2) == bench.model.continuation(of: turn, count: 8))
  }

  @Test("A block is shared when it is computed, not while it is being computed")
  func plannedBlocksAreNotShared() throws {
    let bench = Bench {
      $0.planInFlightMax = 2
      $0.prefillChunkMax = 8
    }
    try bench.enqueue(1, prompt: prompt(12))
    #expect(bench.plan()?.rowCounts == [1: 8])
    #expect(bench.plan()?.rowCounts == [1: 4])
    try bench.enqueue(2, prompt: prompt(20))
    bench.complete()
    let early = bench.plan()
    #expect(early == nil)
    bench.complete()
    let plan = try #require(bench.plan())
    #expect(plan.sequences.last?.id == SequenceID(2))
    #expect(plan.sequences.last?.firstPosition == 12)
  }

  @Test("A prefix is not shared where reuse is off, nor where all outputs are asked for")
  func reuseHasConditions() throws {
    let bench = Bench { $0.reusesPrefixes = false }
    try bench.enqueue(1, prompt: prompt(12))
    bench.finish()
    try bench.enqueue(2, prompt: prompt(12))
    #expect(try #require(bench.plan()).rowCounts == [2: 12])

    let scoring = Bench { $0.outputCountMax = 32 }
    try scoring.enqueue(1, prompt: prompt(12))
    scoring.finish()
    try scoring.scheduler.enqueue(
      [
        SequenceRequest(
          id: SequenceID(2), prompt: prompt(12), stopping: StoppingParameters(), isScoring: true)
      ], now: 0)
    let plan = try #require(scoring.plan())
    #expect(plan.rowCounts == [2: 12])
    #expect(plan.sequences[0].outputs == .all)
    scoring.complete()
    #expect(scoring.end(2)?.reason == .length)
    #expect(scoring.end(2)?.account.generatedTokens == 0)
  }

  @Test("A cancelled sequence leaves its blocks at once, or when its step is complete")
  func cancellationFreesBlocks() throws {
    let bench = Bench()
    try bench.enqueue(1, prompt: prompt(9))
    _ = bench.plan()
    #expect(bench.end(1, .cancelled))
    #expect(bench.scheduler.cache.usedCount == 3)
    #expect(bench.events.isEmpty)
    bench.complete()
    #expect(bench.scheduler.cache.usedCount == 0)
    #expect(bench.end(1)?.reason == .cancelled)
    #expect(bench.tokens(1).isEmpty)
    #expect(!bench.end(1, .cancelled))

    try bench.enqueue(2, prompt: prompt(9, 50))
    _ = bench.plan()
    bench.complete()
    #expect(bench.end(2, .stopString))
    #expect(bench.scheduler.cache.usedCount == 0)
    #expect(bench.scheduler.sequenceCount == 0)
  }

  @Test("Larger priorities go first, equal ones in order of arrival")
  func prioritiesComeFirst() throws {
    let bench = Bench { $0.sequenceCountMax = 1 }
    for (id, priority) in [(1, 0), (2, 0), (3, 5), (4, -1), (5, 5)] as [(UInt64, Int32)] {
      try bench.enqueue(id, prompt: prompt(4, Int32(id) * 10), maxTokens: 1, priority: priority)
    }
    #expect(bench.queuePositions() == [1: 2, 2: 3, 3: 0, 4: 4, 5: 1])
    #expect(bench.queuePositions().isEmpty, "only changes are told")
    #expect(try bench.update(4, priority: 9))
    #expect(bench.queuePositions() == [1: 3, 2: 4, 3: 1, 4: 0, 5: 2])
    bench.finish()
    let order = bench.events.compactMap { event -> UInt64? in
      if case .finished(let id, _, _) = event { id.value } else { nil }
    }
    #expect(order == [4, 3, 5, 1, 2])
  }

  @Test("Sequences spread over the plans of a pipeline, and chunks of a prompt follow each other")
  func pipelinesAreFilled() throws {
    let bench = Bench {
      $0.planInFlightMax = 4
      $0.prefillChunkMax = 10
    }
    try bench.enqueue(1, prompt: prompt(38), maxTokens: 2)
    for rows in [10, 10, 10, 8] { #expect(try #require(bench.plan()).rowCounts == [1: rows]) }
    #expect(bench.plan() == nil)
    for _ in 0..<4 { bench.complete() }
    bench.finish()
    #expect(bench.tokens(1) == bench.model.continuation(of: prompt(38), count: 2))

    for id in UInt64(2)...9 { try bench.enqueue(id, prompt: prompt(1, Int32(id)), maxTokens: 30) }
    #expect(try #require(bench.plan()).rowCount == 8)
    bench.complete()
    for _ in 0..<4 { #expect(try #require(bench.plan()).rowCount == 2) }
    for _ in 0..<20 {
      bench.complete()
      #expect(try #require(bench.plan()).rowCount == 2)
    }
  }

  @Test("When blocks run out, the latest of the lowest priority gives way and starts again later")
  func preemptionTakesTheWorst() throws {
    let bench = Bench(blocks: 10)
    try bench.enqueue(1, prompt: prompt(12), maxTokens: 24, priority: 0)
    try bench.enqueue(2, prompt: prompt(12, 100), maxTokens: 24, priority: 1)
    bench.finish()
    #expect(bench.end(1)?.account.preemptionCount == 1)
    #expect(bench.end(2)?.account.preemptionCount == 0)
    #expect(bench.tokens(1) == bench.model.continuation(of: prompt(12), count: 24))
    #expect(bench.tokens(2) == bench.model.continuation(of: prompt(12, 100), count: 24))
  }

  @Test("After a few preemptions a sequence goes before all others, so it gets to its end")
  func preemptionsAreBounded() throws {
    let bench = Bench(blocks: 8)
    try bench.enqueue(1, prompt: prompt(8), maxTokens: 24)
    var id: UInt64 = 2
    while bench.end(1) == nil {
      if bench.scheduler.sequenceCount < 2 {
        try bench.enqueue(id, prompt: prompt(4, Int32(id)), maxTokens: 20, priority: 1)
        id += 1
      }
      #expect(bench.plan() != nil)
      bench.complete()
      guard id < 200 else { break }
    }
    #expect(bench.end(1)?.reason == .length)
    #expect(bench.end(1)?.account.preemptionCount == 2)
  }

  @Test("A paused sequence keeps its blocks, and goes on where it was")
  func pausedSequencesKeepTheirBlocks() throws {
    let bench = Bench()
    try bench.enqueue(1, prompt: prompt(9))
    try bench.enqueue(2, prompt: prompt(9, 50), maxTokens: 2)
    _ = bench.plan()
    #expect(bench.pause(1))
    #expect(!bench.pause(1))
    bench.complete()
    #expect(bench.tokens(1).count == 1)
    bench.finish()
    #expect(bench.end(2) != nil)
    #expect(bench.scheduler.cache.usedCount == 3)
    #expect(bench.resume(1))
    #expect(!bench.resume(1))
    #expect(try #require(bench.plan()).rowCounts == [1: 1])
    bench.complete()
    bench.finish()
    #expect(bench.tokens(1) == bench.model.continuation(of: prompt(9), count: 8))
    #expect(bench.end(1)?.account.preemptionCount == 0)
  }

  @Test("A sequence generates what it is allowed, to the token, and its place is lent out")
  func allowancesArePreciseAndLendThePlace() throws {
    let bench = Bench { $0.sequenceCountMax = 1 }
    try bench.enqueue(1, prompt: prompt(6), maxTokens: 8, allowance: 0)
    try bench.enqueue(2, prompt: prompt(6, 50), maxTokens: 4, allowance: 2)
    bench.finish()
    #expect(bench.tokens(1).isEmpty && bench.tokens(2).count == 2)
    #expect(bench.scheduler.load.paused == 2 && bench.scheduler.load.waiting == 0)
    for count in [1, 3, 8] {
      #expect(bench.allow(1, tokens: count))
      bench.finish()
      #expect(bench.tokens(1).count == count)
    }
    #expect(bench.tokens(1) == bench.model.continuation(of: prompt(6), count: 8))
    #expect(bench.end(1)?.reason == .length)
    #expect(bench.end(2) == nil)
    #expect(bench.end(2, .cancelled))
    #expect(bench.scheduler.load.paused == 0 && bench.scheduler.cache.usedCount == 0)
  }

  @Test("A paused sequence loses its blocks to one that runs, and computes them again")
  func pausedSequencesGiveWay() throws {
    let bench = Bench(blocks: 6)
    try bench.enqueue(1, prompt: prompt(12), maxTokens: 4, priority: 5)
    _ = bench.plan()
    bench.complete()
    #expect(bench.pause(1))
    try bench.enqueue(2, prompt: prompt(20, 50), maxTokens: 4)
    bench.finish()
    #expect(bench.end(2)?.reason == .length)
    #expect(bench.resume(1))
    bench.finish()
    #expect(bench.tokens(1) == bench.model.continuation(of: prompt(12), count: 4))
    #expect(bench.end(1)?.account.preemptionCount == 0)
  }
}
