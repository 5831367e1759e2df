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
  private let retryDelay = Atomic<UInt64>(0)
  /// Sequences that have passed and not ended.
  private let open = Atomic<Int>(0)
  private let isOpen = Atomic<Bool>(true)
  /// Threads between `enter` and `leave`.
  private let visitors = Atomic<Int>(0)
  /// Notified when the last open sequence ends.
  let emptied = WakeSignal()

  init(sequencesMax: Int, promptTokensMax: Int) {
    self.sequencesMax = sequencesMax
    self.promptTokensMax = promptTokensMax
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
    try reserve(count, of: sequencesMax, in: sequences, "sequences")
    do {
      try reserve(tokens, of: promptTokensMax, in: promptTokens, "prompt tokens")
    } catch {
      sequences.subtract(count, ordering: .relaxed)
      throw error
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

  private func reserve(
    _ count: Int, of limit: Int, in counter: borrowing Atomic<Int>, _ unit: String
  ) throws(EngineError) {
    let held = counter.add(count, ordering: .relaxed).oldValue
    // One request may exceed the limit when nothing else waits.
    guard held + count > limit, held > 0 || count > limit && unit == "sequences" else { return }
    counter.subtract(count, ordering: .relaxed)
    throw EngineError(
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
