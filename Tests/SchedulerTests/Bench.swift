// SPDX-License-Identifier: Apache-2.0

import Cache
import Scheduler
import Step

/// Runs a scheduler by hand, with the fake model's tokens.
final class Bench {
  var scheduler: Scheduler
  var model: FakeModel
  var events: [SequenceEvent] = []
  var underWay: [(plan: StepPlan, outcomes: [SequenceOutcome])] = []
  var now: Nanoseconds = 0

  init(
    blocks: Int = 64, blockTokens: Int = 4, contextLength: Int = 200,
    _ change: (inout SchedulerConfiguration) -> Void = { _ in }
  ) {
    var configuration = SchedulerConfiguration(
      vocabularyCount: 1000, contextLength: contextLength, blockTokens: blockTokens,
      blockCount: blocks)
    change(&configuration)
    scheduler = Scheduler(configuration)
    model = FakeModel(
      vocabularyCount: 1000, blockTokens: blockTokens, blockCount: blocks,
      sliceCount: configuration.contextSlices)
  }

  func enqueue(
    _ id: UInt64, prompt: [Int32], maxTokens: Int? = 8, priority: Int32 = 0,
    deadline: Nanoseconds? = nil, allowance: Int = .max
  ) throws {
    let request = SequenceRequest(
      id: SequenceID(id), prompt: prompt, stopping: StoppingParameters(maxTokens: maxTokens),
      priority: priority, deadline: deadline, tokenAllowance: allowance)
    try scheduler.enqueue([request], now: now)
  }

  /// A plan, computed and not complete.
  func plan() -> StepPlan? {
    guard let plan = scheduler.plan(now: now) else { return nil }
    underWay.append((plan, model.run(plan)))
    return plan
  }

  func complete() {
    now += 1_000_000
    let (plan, outcomes) = underWay.removeFirst()
    scheduler.complete(StepResult(planID: plan.id, outcomes: outcomes), now: now)
    events += scheduler.takeEvents()
  }

  func end(_ id: UInt64, _ reason: FinishReason) -> Bool {
    defer { events += scheduler.takeEvents() }
    return scheduler.end(SequenceID(id), reason, now: now)
  }

  func update(_ id: UInt64, priority: Int32? = nil, maxTokens: Int? = nil) throws -> Bool {
    defer { events += scheduler.takeEvents() }
    return try scheduler.update(
      SequenceID(id), priority: priority, maxTokens: maxTokens, now: now)
  }

  func allow(_ id: UInt64, tokens count: Int) -> Bool {
    scheduler.allow(SequenceID(id), tokens: count)
  }
  func pause(_ id: UInt64) -> Bool { allow(id, tokens: 0) }
  func resume(_ id: UInt64) -> Bool { allow(id, tokens: .max) }

  /// The places in the queue that are told now, by sequence.
  func queuePositions() -> [UInt64: Int] {
    scheduler.reportQueue()
    var positions: [UInt64: Int] = [:]
    for case .queued(let id, let position) in scheduler.takeEvents() {
      positions[id.value] = position
    }
    return positions
  }

  /// One step after the other until nothing is left to do.
  func finish() {
    while plan() != nil { complete() }
    events += scheduler.takeEvents()
  }

  func tokens(_ id: UInt64) -> [Int32] {
    events.compactMap {
      if case .token(SequenceID(id), _, let token) = $0 { token.id } else { nil }
    }
  }

  func end(_ id: UInt64) -> (reason: FinishReason, account: SequenceAccount)? {
    for case .finished(SequenceID(id), let reason, let account) in events {
      return (reason, account)
    }
    return nil
  }
}

func prompt(_ count: Int, _ first: Int32 = 0) -> [Int32] { (0..<Int32(count)).map { $0 + first } }

extension StepPlan {
  /// Rows of each sequence by its number.
  var rowCounts: [UInt64: Int] {
    Dictionary(uniqueKeysWithValues: sequences.map { ($0.id.value, $0.rows.count) })
  }
}
