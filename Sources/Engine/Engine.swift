// SPDX-License-Identifier: Apache-2.0

internal import Cache
internal import Executor
internal import Glibc
internal import Scheduler
package import Slicing
package import Step
internal import Support
internal import Synchronization
package import Topology

/// Generates many sequences at once on one model: continuous batching over slices of devices.
///
/// Its own thread runs steps; other threads talk to it through a ring. All methods may be called
/// from any thread but from within a `SequenceSink`. End it with `shutdown`.
package final class Engine: Sendable {
  package let configuration: EngineConfiguration
  package let vocabularySize: Int
  /// Prompt and output tokens of one sequence, at most.
  package let contextLength: Int
  /// How the model is cut, and where its parts and the other threads run.
  package let plan: SlicePlan
  package let placement: Placement
  /// Cache blocks of all context slices.
  package let kvBlockCount: Int
  /// What of the machine could not be used as wished, one sentence each.
  package let notes: [String]
  /// What devices said of how they were loaded, one sentence each.
  package var deviceNotes: [String] { pipeline.deviceNotes }

  private let commands: MPSCRing<EngineCommand>
  private let wake: WakeSignal
  private let gate: AdmissionGate
  private let vitals = EngineVitals()
  private let pipeline: Pipeline
  private let thread: PinnedThread
  /// An empty scheduler, whose copies say whether a request can ever run.
  private let emptyScheduler: Scheduler
  private let nextID = Atomic<UInt64>(1)
  /// Whether `shutdown` has been done; held while one of `drain` and `shutdown` works.
  private let isShutDown = Mutex(false)

  /// Takes over a pipeline that is loaded, and starts the engine's thread.
  init(
    scheduler: Scheduler, pipeline: Pipeline, wake: WakeSignal,
    configuration: EngineConfiguration, plan: SlicePlan, placement: Placement, notes: [String]
  ) {
    self.configuration = configuration
    vocabularySize = scheduler.configuration.vocabularyCount
    contextLength = scheduler.configuration.contextLength
    kvBlockCount = scheduler.cache.blockCount * scheduler.cache.sliceCount
    self.plan = plan
    self.placement = placement
    self.notes = notes + pipeline.notes
    self.wake = wake
    self.pipeline = pipeline
    emptyScheduler = scheduler
    commands = MPSCRing(capacity: EngineLimits.commandCountMax)
    gate = AdmissionGate(
      sequencesMax: configuration.waitingSequencesMax,
      promptTokensMax: configuration.waitingPromptTokensMax,
      retryDelay: scheduler.retryDelay(now: Clock.nowNanoseconds))
    let loop = EngineLoop(
      scheduler: scheduler, pipeline: pipeline, commands: commands, wake: wake, gate: gate,
      vitals: vitals)
    thread = PinnedThread(
      name: "engine", cpus: placement.engine.cpus, takesShortTurns: true
    ) { loop.run() }
  }

  // MARK: Sequences

  /// A name for a sequence that is yet to be submitted, never given out twice.
  package func makeID() -> SequenceID {
    SequenceID(nextID.add(1, ordering: .relaxed).oldValue)
  }

  /// Puts a sequence into the waiting queue. Its events go to `sink`, and may arrive before this
  /// returns; the last is its only `.finished`. Nothing arrives if this throws.
  ///
  /// - Parameter id: from `makeID`, for callers that must know it before the first event.
  @discardableResult
  package func submit(
    _ submission: SequenceSubmission, id: SequenceID? = nil, to sink: any SequenceSink
  ) throws(EngineError) -> SequenceID {
    let id = id ?? makeID()
    try submit(choices: [(id, submission)], to: sink)
    return id
  }

  /// Puts the choices of one request, or other sequences together, into the waiting queue, all of
  /// them or none.
  package func submit(
    choices: [(id: SequenceID, submission: SequenceSubmission)], to sink: any SequenceSink
  ) throws(EngineError) {
    let sequences = choices.map { id, submission in
      AdmittedSequence(
        request: SequenceRequest(
          id: id, prompt: submission.prompt, stopping: submission.stopping,
          priority: submission.priority, deadline: submission.deadline,
          tokenAllowance: submission.tokenAllowance),
        sampling: submission.sampling, sink: sink, thinking: submission.thinking)
    }
    try submit(sequences)
  }

  /// Ends a sequence with `reason` before the next step; `.stopString` when its text is complete.
  /// Does nothing if it has ended.
  package func cancel(_ id: SequenceID, reason: FinishReason = .cancelled) {
    command(.end(id, reason))
  }

  /// Lets a sequence generate `count` tokens in all; with so many it is paused and its place in the
  /// batch is lent out. Does nothing if it has ended.
  package func allow(_ id: SequenceID, tokens count: Int) {
    command(.allow(id, tokens: count))
  }

  /// Changes sequences of one request before the next step, those that have not ended.
  ///
  /// - Parameter promptTokens: of each of them.
  package func update(
    _ ids: [SequenceID], _ update: SequenceUpdate, promptTokens: Int
  ) throws(EngineError) {
    do {
      if let maxTokens = update.maxTokens {
        _ = try emptyScheduler.fittingMaxTokens(maxTokens, promptCount: promptTokens)
      }
    } catch {
      throw EngineError(error)
    }
    command(.update(ids, update))
  }

  private func command(_ command: EngineCommand) {
    while gate.openCount > 0 {
      if commands.tryPush(command) { break }
      // The engine takes a thousand commands a turn; there is nothing to do but let it.
      sched_yield()
    }
    wake.notify()
  }

  /// The logits after each of `tokens`, `[tokens, vocabulary]`, computed in chunks by the same
  /// steps as everything else. Blocks the calling thread.
  package func logits(of tokens: [Int32]) throws(EngineError) -> [Float] {
    let job = LogitsJob(tokenCount: tokens.count, vocabularySize: vocabularySize)
    let request = SequenceRequest(
      id: makeID(), prompt: tokens, stopping: StoppingParameters(maxTokens: 1), isScoring: true)
    try submit([
      AdmittedSequence(request: request, sampling: SamplingParameters(), sink: job, scoring: job)
    ])
    return try job.wait()
  }

  private func submit(_ sequences: [AdmittedSequence]) throws(EngineError) {
    if let failure = vitals.failure { throw EngineError(.unavailable, failure) }
    try validate(sequences)
    let promptTokens = sequences.reduce(0) { $0 + $1.request.prompt.count }
    try gate.admit(sequences: sequences.count, promptTokens: promptTokens) {
      commands.tryPush(.submit(sequences))
    }
    wake.notify()
  }

  private func validate(_ sequences: [AdmittedSequence]) throws(EngineError) {
    do {
      for sequence in sequences {
        try sequence.sampling.validate(vocabularyCount: vocabularySize)
        try sequence.request.stopping.validate(vocabularyCount: vocabularySize)
      }
      var scheduler = emptyScheduler
      try scheduler.enqueue(sequences.map(\.request), now: 0)
    } catch let error as ParameterError {
      throw EngineError(error)
    } catch let error as AdmissionError {
      throw EngineError(error)
    } catch {
      throw EngineError(.internal, "\(error)")
    }
  }

  // MARK: Life

  /// How busy and how well the engine is.
  package func load() -> EngineLoad {
    var load = vitals.load
    load.kvBlockCount = kvBlockCount
    load.executors = pipeline.health
    load.isAccepting = gate.isAccepting && load.failure == nil
    return load
  }

  /// Takes no new sequences, and waits until all have ended or, if given, `deadline` on `Clock`.
  /// Returns whether all ended. Blocks the calling thread.
  @discardableResult
  package func drain(until deadline: Nanoseconds? = nil) -> Bool {
    gate.close()
    return isShutDown.withLock { _ in
      while gate.openCount > 0 {
        let isNotified = gate.emptied.wait(until: deadline)
        if !isNotified, let deadline, Clock.nowNanoseconds >= deadline { break }
      }
      return gate.openCount == 0
    }
  }

  /// Ends all sequences with an error and all threads, and frees the devices. Blocks the calling
  /// thread. A device that does not come back from its step within `grace` nanoseconds is left
  /// behind.
  package func shutdown(grace: Nanoseconds = 5_000_000_000) {
    gate.close()
    isShutDown.withLock { isShutDown in
      guard !isShutDown else { return }
      isShutDown = true
      let deadline = Clock.nowNanoseconds + grace
      while !commands.tryPush(.shutdown(deadline: deadline)) { sched_yield() }
      wake.notify()
      thread.join()
      pipeline.shutdown(until: deadline)
    }
  }
}
