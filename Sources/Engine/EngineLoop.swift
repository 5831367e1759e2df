// SPDX-License-Identifier: Apache-2.0

internal import Cache
internal import Executor
internal import Sampling
internal import Scheduler
internal import Step
internal import Support
internal import Synchronization

/// The step loop: results in, commands in, next steps out, events to their sinks.
///
/// The engine's thread goes round it. With one stage, the thread of its executor does so too, at
/// the end of each step, so that a step costs no thread switch; the engine's then sees to what
/// comes while a step is under way, and to the clock.
final class EngineLoop: @unchecked Sendable {  // `turns` guards all that changes
  /// What the loop knows of a sequence beside the scheduler. An object, so that looking it up moves
  /// nothing.
  final class Record {
    let sink: any SequenceSink
    var sampler: SequenceSampler
    let scoring: LogitsJob?
    let promptCount: Int
    /// Whether it still counts as waiting at the gate.
    var isQueued = true

    init(_ sequence: AdmittedSequence) {
      sink = sequence.sink
      sampler = SequenceSampler(
        sequence.sampling, stopping: sequence.request.stopping, prompt: sequence.request.prompt,
        thinking: sequence.thinking)
      scoring = sequence.scoring
      promptCount = sequence.request.prompt.count
    }
  }

  var scheduler: Scheduler
  var records: [SequenceID: Record] = [:]
  let pipeline: Pipeline
  let commands: MPSCRing<EngineCommand>
  let gate: AdmissionGate
  let vitals: EngineVitals
  var workspace = SamplingWorkspace()
  private let wake: WakeSignal
  private let vocabularySize: Int
  /// Held by the thread that goes round.
  private let turns = Mutex(())
  /// When the newest step was done whose events are still to be delivered; 0 if there is none.
  private var stepEnd: Nanoseconds = 0
  private var nextQueueReport: Nanoseconds = 0
  /// Why no step is planned any more.
  var failure: SequenceError?
  /// When to stop waiting for devices; set by the order to shut down.
  var stopDeadline: Nanoseconds?
  /// Whether every sequence has ended, for ever.
  private var isOver = false
  /// Sinks whose readers do not know yet of what was delivered.
  private var toldSinks: [any SequenceSink] = []

  init(
    scheduler: Scheduler, pipeline: Pipeline, commands: MPSCRing<EngineCommand>, wake: WakeSignal,
    gate: AdmissionGate, vitals: EngineVitals
  ) {
    self.scheduler = scheduler
    self.pipeline = pipeline
    self.commands = commands
    self.wake = wake
    self.gate = gate
    self.vitals = vitals
    vocabularySize = scheduler.configuration.vocabularyCount
  }

  /// What the engine's thread does after a turn.
  private enum Next {
    case goRound
    case sleep(until: Nanoseconds)
    case end
  }

  /// The body of the engine's thread: returns after the order to shut down.
  func run() {
    while true {
      switch turns.withLock({ _ in next() }) {
      case .goRound: continue
      case .sleep(let time): wake.wait(until: time)
      case .end: return
      }
    }
  }

  private func next() -> Next {
    var hasWorked = collectResults()
    hasWorked = applyCommands() || hasWorked
    hasWorked = dispatch() || hasWorked
    // After the dispatch: the devices work meanwhile.
    hasWorked = tell() || hasWorked
    for sink in takeToldSinks() { sink.wakeReader() }
    if let stopDeadline, scheduler.planInFlightCount == 0 || Clock.nowNanoseconds >= stopDeadline {
      abandonRest()
      isOver = true
      return .end
    }
    return hasWorked ? .goRound : .sleep(until: nextTime)
  }

  /// When the engine's thread goes round even if nothing has come.
  private var nextTime: Nanoseconds {
    let nextBeat = Clock.nowNanoseconds + EngineLimits.beatInterval
    let queueReport = scheduler.load.waiting > 0 ? nextQueueReport : nil
    let deadlines = [scheduler.nextDeadline, queueReport, stopDeadline].compactMap { $0 }
    return min(nextBeat, deadlines.min() ?? .max)
  }

  /// Publishes how it stands, then hands events to their sinks: who hears of an end finds it in the
  /// numbers. Returns whether there were events.
  private func tell() -> Bool {
    publish()
    return deliverEvents()
  }

  /// Asks the scheduler to tell the waiting their places, now and then.
  private func reportQueue() {
    guard scheduler.load.waiting > 0 else { return }
    let now = Clock.nowNanoseconds
    guard now >= nextQueueReport else { return }
    nextQueueReport = now + EngineLimits.queueReportInterval
    scheduler.reportQueue()
  }

  private func publish() {
    let load = scheduler.load
    vitals.beat(
      running: load.running, waiting: load.waiting, paused: load.paused,
      kvBlocksUsed: scheduler.cache.usedCount)
    gate.publish(retryDelay: scheduler.retryDelay(now: Clock.nowNanoseconds))
  }

  // MARK: Steps

  /// Sends steps on their way while the scheduler has some and the pipeline has room.
  private func dispatch() -> Bool {
    let now = Clock.nowNanoseconds
    scheduler.expire(now: now)
    guard failure == nil else { return false }
    var hasDispatched = false
    let observer = pipeline.hasOneStage ? self : nil
    while pipeline.hasRoom, let plan = scheduler.plan(now: now) {
      pipeline.dispatch(plan, observer: observer)
      hasDispatched = true
    }
    reportQueue()
    return hasDispatched
  }

  /// Samples what has come back, and tells the scheduler.
  private func collectResults() -> Bool {
    var hasResults = false
    while let batch = pipeline.nextResult() {
      hasResults = true
      stepEnd = batch.endTime
      let outcomes = batch.failure.map { failed(batch.plan, $0) } ?? outcomes(of: batch)
      let result = StepResult(planID: batch.plan.id, outcomes: outcomes)
      scheduler.complete(result, now: Clock.nowNanoseconds)
      pipeline.recycle(batch)
      vitals.countStep()
    }
    return hasResults
  }

  private func outcomes(of batch: MicroBatch) -> [SequenceOutcome] {
    let logits = UnsafeBufferPointer(batch.logits)
    var row = 0
    return batch.plan.sequences.map { sequence in
      let count = sequence.outputCount * vocabularySize
      let rows = UnsafeBufferPointer(rebasing: logits[row..<row + count])
      row += count
      return outcome(of: sequence, logits: rows)
    }
  }

  private func outcome(
    of sequence: StepSequence, logits: UnsafeBufferPointer<Float>
  ) -> SequenceOutcome {
    switch sequence.outputs {
    case .none:
      return .computed
    case .all:
      records[sequence.id]?.scoring?.store(logits, firstPosition: sequence.firstPosition)
      return .computed
    case .last:
      do {
        // Without a record it has ended while the step was under way, and nobody looks.
        let token = try records[sequence.id]?.sampler.next(logits, using: &workspace)
        return token.map { .sampled($0) } ?? .computed
      } catch {
        return .failed(error)
      }
    }
  }

  /// A device has failed, and with it the engine: what it holds of all sequences is lost.
  private func failed(_ plan: StepPlan, _ error: some OperatingError) -> [SequenceOutcome] {
    let failure = SequenceError(.unavailable, "a device failed: \(error.message)")
    if self.failure == nil {
      self.failure = failure
      vitals.fail(failure.message)
      endAll(.failed(failure))
    }
    return plan.sequences.map { _ in .failed(failure) }
  }

  // MARK: Events

  /// Hands each sink its events, all at once.
  private func deliverEvents() -> Bool {
    let events = scheduler.takeEvents()
    // There are few sinks, one for each poller and each job.
    var deliveries: [(sink: any SequenceSink, events: [SequenceEvent])] = []
    var endCount = 0
    for event in events {
      guard let record = records[event.id] else { continue }
      let sink = record.sink
      endCount += note(event, record)
      if let index = deliveries.firstIndex(where: { $0.sink === sink }) {
        deliveries[index].events.append(event)
      } else {
        deliveries.append((sink, [event]))
      }
    }
    for delivery in deliveries {
      delivery.sink.deliver(delivery.events, stepEnd: stepEnd)
      toldSinks.append(delivery.sink)
    }
    stepEnd = 0
    // Last, so that who waits for the end of all has heard of each.
    if endCount > 0 { gate.end(sequences: endCount) }
    return !events.isEmpty
  }

  private func takeToldSinks() -> [any SequenceSink] {
    defer { toldSinks = [] }
    return toldSinks
  }

  /// Keeps gate and records up to date. Returns how many sequences have ended.
  private func note(_ event: SequenceEvent, _ record: Record) -> Int {
    if case .queued = event { return 0 }
    if record.isQueued {
      gate.start(sequences: 1, promptTokens: record.promptCount)
      record.isQueued = false
    }
    guard case .finished = event else { return 0 }
    records[event.id] = nil
    return 1
  }

  /// At shutdown: ends what the devices did not give back in time.
  private func abandonRest() {
    let reason = FinishReason.failed(
      failure ?? SequenceError(.unavailable, "a device did not come back from a step"))
    for (id, record) in records {
      let event = SequenceEvent.finished(id, reason, SequenceAccount())
      let endCount = note(event, record)
      record.sink.deliver([event], stepEnd: stepEnd)
      record.sink.wakeReader()
      gate.end(sequences: endCount)
    }
    publish()
  }
}

// MARK: - The executor's thread

extension EngineLoop: StepObserver {
  /// Goes round once, unless the engine's thread is doing so; that goes round again then.
  func stepEnded() {
    // What the step has made goes first.
    turnOfExecutor { _ = collectResults() }
    turnOfExecutor {
      _ = applyCommands()
      _ = dispatch()
    }
  }

  private func turnOfExecutor(_ body: () -> Void) {
    let turn = turns.withLockIfAvailable { _ in
      guard !isOver else { return (sinks: [any SequenceSink](), isLast: false) }
      body()
      _ = tell()
      return (takeToldSinks(), stopDeadline != nil)
    }
    guard let (sinks, isLast) = turn else { return wake.notify() }
    for sink in sinks { sink.wakeReaderOrRead() }
    // The end is for the engine's thread.
    if isLast { wake.notify() }
  }
}
