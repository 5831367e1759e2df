// SPDX-License-Identifier: Apache-2.0

import Cache
import Scheduler
import Step
import Support
import TestSupport

/// A scheduler with a fake model on virtual time: random arrivals, cancellations, pauses,
/// deadlines, failures and slow steps, all drawn from one seed. Whatever goes against the rules is
/// noted in `violations`.
struct Simulation {
  /// What the client of one sequence expects and has seen.
  struct Client {
    let request: SequenceRequest
    var tokens: [Int32] = []
    var allowance = Int.max
    var wasEnded = false
    var wasFailed = false
    var finish: (reason: FinishReason, account: SequenceAccount)?

    var isPaused: Bool { !request.isScoring && tokens.count >= allowance }
  }

  let configuration: SchedulerConfiguration
  var scheduler: Scheduler
  var random: SeededGenerator
  /// The devices at both ends of a pipeline: the first runs a plan when it is made, the last just
  /// before it is complete. Others are in between.
  var firstStage: FakeModel
  var lastStage: FakeModel
  var underWay: [StepPlan] = []
  var clients: [Client] = []
  var now: Nanoseconds = 1000
  var violations: [String] = []
  /// All plans, for comparing runs.
  var trace: [StepPlan] = []
  var refusalCount = 0

  init(seed: UInt64) {
    random = SeededGenerator(seed: seed)
    configuration = Self.configuration(&random)
    scheduler = Scheduler(configuration)
    firstStage = FakeModel(
      vocabularyCount: configuration.vocabularyCount, blockTokens: configuration.blockTokens,
      blockCount: configuration.blockCount, sliceCount: configuration.contextSlices)
    lastStage = firstStage
  }

  private static func configuration(_ random: inout SeededGenerator) -> SchedulerConfiguration {
    var configuration = SchedulerConfiguration(
      vocabularyCount: 40, contextLength: .random(in: 8...120, using: &random),
      blockTokens: .random(in: 1...8, using: &random),
      blockCount: .random(in: 2...24, using: &random))
    if Bool.random(using: &random) {
      // Little memory, in which sequences soon outgrow their prompts.
      configuration.blockTokens = .random(in: 1...3, using: &random)
      configuration.blockCount = .random(in: 8...40, using: &random)
    }
    configuration.contextSlices = [1, 1, 2, 3, 8].randomElement(using: &random) ?? 1
    configuration.planInFlightMax = .random(in: 1...8, using: &random)
    configuration.sequenceCountMax = .random(in: 1...10, using: &random)
    configuration.outputCountMax =
      configuration.sequenceCountMax + .random(in: 0...3, using: &random)
    configuration.rowCountMax = .random(in: 1...40, using: &random)
    configuration.prefillChunkMax = .random(in: 1...20, using: &random)
    configuration.waitingCountMax = .random(in: 1...12, using: &random)
    configuration.waitingPromptTokensMax = .random(in: 20...300, using: &random)
    configuration.reusesPrefixes = .random(in: 0..<8, using: &random) > 0
    return configuration
  }

  /// Runs to the end; the turns are bounded, so that a standstill is noticed.
  mutating func run(arrivals: Int) {
    var arrived = 0
    var turns = 0
    while arrived < arrivals || scheduler.sequenceCount > 0 {
      turns += 1
      guard turns < 100_000, violations.isEmpty else {
        violate("no end after \(turns) turns with \(scheduler.sequenceCount) sequences")
        return
      }
      if arrived < arrivals, chance(3) {
        arrived += 1
        arrive()
      }
      if chance(6) { disturb(isDraining: arrived == arrivals) }
      if chance(2) { makePlans() }
      if !underWay.isEmpty, chance(2) || underWay.count == configuration.planInFlightMax {
        completeOldest()
      }
      now += .random(in: 0...2_000_000, using: &random)
    }
    checkEnd()
  }

  // MARK: What happens

  private mutating func arrive() {
    let prompt = randomPrompt()
    var stopping = StoppingParameters()
    if chance(4) == false { stopping.maxTokens = .random(in: 1...30, using: &random) }
    if chance(3) { stopping.stopTokens = [.random(in: 0..<40, using: &random), 7] }
    if chance(4) { stopping.minTokens = .random(in: 0...5, using: &random) }
    let priority: Int32 = chance(4) ? .random(in: -2...2, using: &random) : 0
    let deadline = chance(8) ? now + .random(in: 0...60_000_000, using: &random) : nil
    let isScoring = chance(12)
    let count = chance(5) ? Int.random(in: 2...4, using: &random) : 1
    let requests = (0..<count).map {
      SequenceRequest(
        id: SequenceID(UInt64(clients.count + $0)), prompt: prompt, stopping: stopping,
        priority: priority, deadline: deadline, isScoring: isScoring)
    }
    do {
      try scheduler.enqueue(requests, now: now)
      clients += requests.map { Client(request: $0) }
      let outside = scheduler.sequenceCount - scheduler.load.running
      if outside > configuration.waitingCountMax { violate("\(outside) sequences wait") }
    } catch {
      refusalCount += 1
      if case .full(_, _, _, let delay) = error, delay == 0 { violate("a retry delay of 0") }
    }
  }

  /// Prompts often begin alike.
  private mutating func randomPrompt() -> [Int32] {
    let shared = Int32.random(in: 0..<3, using: &random)
    let sharedCount = Int.random(in: 0...40, using: &random)
    if chance(3) { return [.random(in: 0..<40, using: &random)] }
    let ownCount = Int.random(in: 1...20, using: &random)
    return (0..<Int32(sharedCount)).map { ($0 * 7 + shared) % 40 }
      + (0..<ownCount).map { _ in .random(in: 0..<40, using: &random) }
  }

  private mutating func disturb(isDraining: Bool) {
    guard let index = clients.indices.randomElement(using: &random) else { return }
    let id = clients[index].request.id
    switch Int.random(in: 0..<5, using: &random) {
    case 0 where chance(3):
      if scheduler.end(id, .cancelled, now: now) { clients[index].wasEnded = true }
    case 1 where !isDraining:
      allow(index, tokens: chance(3) ? 0 : .random(in: 1...30, using: &random))
    case 2:
      let priority = Int32.random(in: -3...3, using: &random)
      _ = try? scheduler.update(id, priority: priority, now: now)
    default:
      for index in clients.indices where clients[index].allowance < .max {
        if isDraining || chance(2) { allow(index, tokens: .max) }
      }
      scheduler.reportQueue()
    }
    takeEvents()
  }

  private mutating func allow(_ index: Int, tokens count: Int) {
    scheduler.allow(clients[index].request.id, tokens: count)
    clients[index].allowance = count
  }

  private mutating func makePlans() {
    while let plan = scheduler.plan(now: now) {
      takeEvents()
      check(plan)
      trace.append(plan)
      underWay.append(plan)
      _ = firstStage.run(plan)
      if chance(4) { break }
    }
    takeEvents()
    if scheduler.planInFlightCount != underWay.count { violate("plans under way are miscounted") }
    let canGoOn = clients.contains { $0.finish == nil && !$0.isPaused }
    if underWay.isEmpty, canGoOn, scheduler.sequenceCount > 0 { violate("a standstill") }
  }

  private mutating func completeOldest() {
    let plan = underWay.removeFirst()
    var outcomes = lastStage.run(plan)
    if chance(60) {
      let index = outcomes.indices.randomElement(using: &random) ?? 0
      outcomes[index] = .failed(SequenceError(.internal, "made to fail"))
      clients[Int(plan.sequences[index].id.value)].wasFailed = true
    }
    scheduler.complete(StepResult(planID: plan.id, outcomes: outcomes), now: now)
    takeEvents()
  }

  private mutating func takeEvents() {
    for event in scheduler.takeEvents() {
      switch event {
      case .queued(let id, let position):
        let client = clients[Int(id.value)]
        if client.finish != nil || !client.tokens.isEmpty || position < 0 {
          violate("\(id): at \(position) in the queue")
        }
      case .prefilled(let id, let tokens):
        let client = clients[Int(id.value)]
        if client.finish != nil || tokens > client.request.prompt.count || tokens < 1 {
          violate("\(id): \(tokens) tokens prefilled")
        }
      case .token(let id, let index, let token):
        let client = clients[Int(id.value)]
        if client.finish != nil { violate("\(id): a token after its end") }
        if index != client.tokens.count { violate("\(id): token \(index) is out of order") }
        clients[Int(id.value)].tokens.append(token.id)
      case .finished(let id, let reason, let account):
        if clients[Int(id.value)].finish != nil { violate("\(id): finished twice") }
        clients[Int(id.value)].finish = (reason, account)
      }
    }
  }

  // MARK: Helpers

  /// True once in `count` times.
  private mutating func chance(_ count: Int) -> Bool { .random(in: 0..<count, using: &random) == 0 }

  mutating func violate(_ message: String) { violations.append(message) }
}
