// SPDX-License-Identifier: Apache-2.0

internal import Step
internal import Support
internal import Synchronization

/// The logits of every position of a sequence, asked for by one thread and filled in by the
/// engine's.
final class LogitsJob: @unchecked Sendable {
  // Written by the engine's thread until it sets `isDone`, read by the asking thread afterwards.

  let tokens: [Int32]
  let vocabularySize: Int
  /// `[tokens, vocabulary]`
  private(set) var values: [Float]
  private var failure: EngineError?
  private let isDone = Atomic<Bool>(false)
  private let wake = WakeSignal()

  init(tokens: [Int32], vocabularySize: Int) {
    self.tokens = tokens
    self.vocabularySize = vocabularySize
    values = Array(repeating: 0, count: tokens.count * vocabularySize)
  }

  /// Engine's thread: takes the rows of positions from `firstPosition`.
  func store(_ rows: UnsafeBufferPointer<Float>, firstPosition: Int) {
    let start = firstPosition * vocabularySize
    check(start + rows.count <= values.count, "logits past the end of the sequence")
    values.withUnsafeMutableBufferPointer { values in
      _ = UnsafeMutableBufferPointer(rebasing: values[start..<start + rows.count])
        .update(from: rows)
    }
  }

  /// Engine's thread: the job is done, or failed. Nothing is stored after.
  func finish(_ failure: EngineError? = nil) {
    self.failure = failure
    isDone.store(true, ordering: .releasing)
    wake.notify()
  }

  /// The asking thread: sleeps until the job is done.
  func wait() throws(EngineError) -> [Float] {
    while !isDone.load(ordering: .acquiring) { wake.wait() }
    if let failure { throw failure }
    return values
  }
}
