// SPDX-License-Identifier: Apache-2.0

internal import Step
internal import Support
internal import Synchronization

/// The door of the waiting queue: counts what waits for its first step, and refuses what is too
/// much before any work is spent on it. Any thread.
final class AdmissionGate: Sendable {
  private let sequencesMax: Int
  private let promptTokensMax: Int
  private let sequences = Atomic<Int>(0)
  private let promptTokens = Atomic<Int>(0)
  /// When the queue will have room, as the engine's thread sees it.
  private let retryDelay: Atomic<UInt64>
  /// Sequences that have passed and not ended.
  private let open = Atomic<Int>(0)
  private let isOpen = Atomic<Bool>(true)
  /// Threads between `enter` and `leave`.
  private let visitors = Atomic<Int>(0)
  /// Notified when the last open sequence ends.
  let emptied = WakeSignal()

  /// - Parameter retryDelay: what is answered until the engine's thread knows better.
  init(sequencesMax: Int, promptTokensMax: Int, retryDelay: Nanoseconds) {
    self.sequencesMax = sequencesMax
    self.promptTokensMax = promptTokensMax
    self.retryDelay = Atomic(retryDelay)
  }

  var isAccepting: Bool { isOpen.load(ordering: .acquiring) }
  var openCount: Int { open.load(ordering: .acquiring) }

  /// Counts sequences in, or refuses them; then `body` hands them to the engine's thread, or
  /// returns false if it cannot.
  func admit(
    sequences count: Int, promptTokens tokens: Int, _ body: () -> Bool
  ) throws(EngineError) {
    visitors.add(1, ordering: .sequentiallyConsistent)
    defer { visitors.subtract(1, ordering: .sequentiallyConsistent) }
    guard isOpen.load(ordering: .sequentiallyConsistent) else {
      throw EngineError(.unavailable, "the server is shutting down and takes no new generations")
    }
    guard count <= sequencesMax else {
      throw EngineError(.invalidArgument, "n is \(count); expected at most \(sequencesMax)")
    }
    let (_, held) = sequences.add(count, ordering: .relaxed)
    guard held <= sequencesMax else {
      sequences.subtract(count, ordering: .relaxed)
      throw full(holding: held - count, of: sequencesMax, "sequences")
    }
    let (before, after) = promptTokens.add(tokens, ordering: .relaxed)
    // One request may exceed the limit when nothing else waits.
    guard after <= promptTokensMax || before == 0 else {
      start(sequences: count, promptTokens: tokens)
      throw full(holding: before, of: promptTokensMax, "prompt tokens")
    }
    open.add(count, ordering: .acquiringAndReleasing)
    guard body() else {
      start(sequences: count, promptTokens: tokens)
      end(sequences: count)
      throw EngineError(
        .resourceExhausted,
        "the engine holds \(EngineLimits.commandCountMax) commands, as many as it can",
        retryDelay: retryDelay.load(ordering: .relaxed))
    }
  }

  private func full(holding held: Int, of limit: Int, _ unit: String) -> EngineError {
    EngineError(
      .resourceExhausted,
      "the waiting queue is full: it holds \(held) \(unit) of at most \(limit)",
      retryDelay: retryDelay.load(ordering: .relaxed))
  }

  // MARK: The engine's thread

  /// Sequences have left the queue.
  func start(sequences count: Int, promptTokens tokens: Int) {
    sequences.subtract(count, ordering: .relaxed)
    promptTokens.subtract(tokens, ordering: .relaxed)
  }

  /// Sequences have ended.
  func end(sequences count: Int) {
    if open.subtract(count, ordering: .acquiringAndReleasing).newValue == 0 { emptied.notify() }
  }

  func publish(retryDelay delay: Nanoseconds) { retryDelay.store(delay, ordering: .relaxed) }

  // MARK: Life

  /// Refuses from now on. Returns when nobody is half way through the door.
  func close() {
    isOpen.store(false, ordering: .sequentiallyConsistent)
    // A visit takes less than a microsecond.
    while visitors.load(ordering: .sequentiallyConsistent) > 0 {}
  }
}
