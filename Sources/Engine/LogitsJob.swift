// SPDX-License-Identifier: Apache-2.0

internal import Step
internal import Support
internal import Synchronization

/// The logits of every position of a sequence, asked for by one thread and filled in by the
/// engine's.
final class LogitsJob: SequenceSink, @unchecked Sendable {
  // Written by the engine's thread until it sets `isDone`, read by the asking thread afterwards.

  private let vocabularySize: Int
  /// `[tokens, vocabulary]`
  private var values: [Float]
  private var failure: EngineError?
  private let isDone = Atomic<Bool>(false)
  private let wake = WakeSignal()

  init(tokenCount: Int, vocabularySize: Int) {
    self.vocabularySize = vocabularySize
    values = Array(repeating: 0, count: tokenCount * vocabularySize)
  }

  /// Engine's thread: takes the rows of positions from `firstPosition`.
  func store(_ rows: UnsafeBufferPointer<Float>, firstPosition: Int) {
    let start = firstPosition * vocabularySize
    check(start + rows.count <= values.count, "logits past the end of the sequence")
    values.withUnsafeMutableBufferPointer { values in
      _ = UnsafeMutableBufferPointer(rebasing: values[start..<start + rows.count])
        .update(fromContentsOf: rows)
    }
  }

  func deliver(_ events: [SequenceEvent], stepEnd: Nanoseconds) {
    guard case .finished(_, let reason, _)? = events.last else { return }
    if case .failed(let error) = reason { failure = EngineError(error) }
    isDone.store(true, ordering: .releasing)
    wake.notify()
  }

  /// The asking thread: sleeps until all is there, or has failed.
  func wait() throws(EngineError) -> [Float] {
    while !isDone.load(ordering: .acquiring) { wake.wait() }
    if let failure { throw failure }
    return values
  }
}
