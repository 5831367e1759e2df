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
  /// By the numbers of their ids.
  var records = NumberTable<Record>()
  let pipeline: Pipeline
  let commands: MPSCRing<EngineCommand>
  let gate: AdmissionGate
  let vitals: EngineVitals
  var workspace = SamplingWorkspace()
  let wake: WakeSignal
  /// Held by the thread that goes round.
  let turns = Mutex(())
  /// A step that has come back and is not all sampled.
  var remainder: StepRemainder?
  /// When the newest step was done whose events are still to be delivered; 0 if there is none.
  var stepEnd: Nanoseconds = 0
  private var nextQueueReport: Nanoseconds = 0
  /// Why no step is planned any more.
  var failure: SequenceError?
  /// When to stop waiting for devices; set by the order to shut down.
  var stopDeadline: Nanoseconds?
  /// Whether every sequence has ended, for ever.
  private(set) var isOver = false
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
    var hasWorked = false
    while collectResult(atMost: .max) { hasWorked = true }
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
  func tell() -> Bool {
    let events = scheduler.takeEvents()
    // A sequence that has ended has a record until its last event is delivered.
    let hasEnd = scheduler.sequenceCount < records.count
    if remainder == nil || hasEnd { publish(&scheduler) }
    deliver(events)
    if remainder == nil { stepEnd = 0 }
    return !events.isEmpty
  }

  /// Asks the scheduler to tell the waiting their places, now and then.
  private func reportQueue() {
    guard scheduler.load.waiting > 0 else { return }
    let now = Clock.nowNanoseconds
    guard now >= nextQueueReport else { return }
    nextQueueReport = now + EngineLimits.queueReportInterval
    scheduler.reportQueue()
  }

  /// Lent, as a getter of a property that is a large value copies it first.
  private func publish(_ scheduler: inout Scheduler) {
    let load = scheduler.load
    vitals.beat(
      running: load.running, waiting: load.waiting, paused: load.paused,
      kvBlocksUsed: scheduler.cache.usedCount)
    gate.publish(retryDelay: scheduler.retryDelay(now: Clock.nowNanoseconds))
  }

  // MARK: Steps

  /// Sends steps on their way while the scheduler has some and the pipeline has room.
  func dispatch() -> Bool {
    let now = Clock.nowNanoseconds
    scheduler.expire(now: now)
    guard failure == nil else { return false }
    var hasDispatched = false
    let observer = pipeline.hasOneStage ? self : nil
    while pipeline.hasRoom, let plan = scheduler.plan(now: now) {
      pipeline.dispatch(plan, observer: observer) { [records] id, room in
        // Without a record it has ended, and nobody looks.
        guard let record = records[id.value] else { return .largest }
        return record.sampler.draw(adjustments: room)
      }
      hasDispatched = true
    }
    reportQueue()
    return hasDispatched
  }

  // MARK: Events

  /// Hands each sink its events, all at once.
  private func deliver(_ events: [SequenceEvent]) {
    // There are few sinks, one for each poller and each job; mostly all is for one.
    var deliveries: [(sink: any SequenceSink, events: [SequenceEvent])] = []
    func add(_ run: Range<Int>, to sink: any SequenceSink) {
      if run == events.indices {
        deliveries.append((sink, events))
      } else if let index = deliveries.firstIndex(where: { $0.sink === sink }) {
        deliveries[index].events += events[run]
      } else {
        deliveries.append((sink, Array(events[run])))
      }
    }
    var run: (sink: any SequenceSink, start: Int)?
    var endCount = 0
    for (index, event) in events.enumerated() {
      guard let record = records[event.id.value] else {
        checkFailed("an event of \(event.id) after its end", file: #fileID, line: #line)
      }
      if record.sink !== run?.sink {
        if let run { add(run.start..<index, to: run.sink) }
        run = (record.sink, index)
      }
      endCount += note(event, record)
    }
    if let run { add(run.start..<events.count, to: run.sink) }
    for delivery in deliveries {
      delivery.sink.deliver(delivery.events, stepEnd: stepEnd)
      toldSinks.append(delivery.sink)
    }
    // Last, so that who waits for the end of all has heard of each.
    if endCount > 0 { gate.end(sequences: endCount) }
  }

  func takeToldSinks() -> [any SequenceSink] {
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
    records[event.id.value] = nil
    return 1
  }

  /// At shutdown: ends what the devices did not give back in time.
  private func abandonRest() {
    let reason = FinishReason.failed(
      failure ?? SequenceError(.unavailable, "a device did not come back from a step"))
    for id in records.keys {
      guard let record = records[id] else { continue }
      let event = SequenceEvent.finished(SequenceID(id), reason, SequenceAccount())
      let endCount = note(event, record)
      record.sink.deliver([event], stepEnd: stepEnd)
      record.sink.wakeReader()
      gate.end(sequences: endCount)
    }
    publish(&scheduler)
  }
}
