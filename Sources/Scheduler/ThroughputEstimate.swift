// SPDX-License-Identifier: Apache-2.0

import Step

/// How fast the waiting queue empties, seen over the last one to two windows of time.
struct ThroughputEstimate: Sendable {
  private struct Window: Sendable {
    var start: Nanoseconds
    var sequences = 0
    var promptTokens = 0
  }

  private static let windowLength: Nanoseconds = 10_000_000_000
  /// What is answered while nothing was seen.
  private static let retryDelayUnknown: Nanoseconds = 1_000_000_000
  private static let retryDelayMin: Nanoseconds = 50_000_000
  private static let retryDelayMax: Nanoseconds = 60_000_000_000

  private var previous: Window?
  private var current: Window?

  /// A sequence left the queue for the batch.
  mutating func record(promptTokens: Int, now: Nanoseconds) {
    if let window = current {
      let age = span(from: window.start, to: now)
      if age >= 2 * Self.windowLength {
        (previous, current) = (nil, Window(start: now))
      } else if age >= Self.windowLength {
        (previous, current) = (window, Window(start: now))
      }
    } else {
      current = Window(start: now)
    }
    current?.sequences += 1
    current?.promptTokens += promptTokens
  }

  /// How long until so many sequences and prompt tokens more have left the queue.
  func delay(sequences: Int, promptTokens: Int, now: Nanoseconds) -> Nanoseconds {
    guard let current else { return Self.retryDelayUnknown }
    let elapsed = Double(span(from: (previous ?? current).start, to: now))
    let seenSequences = current.sequences + (previous?.sequences ?? 0)
    let seenTokens = current.promptTokens + (previous?.promptTokens ?? 0)
    let share = max(
      Double(sequences) / Double(max(1, seenSequences)),
      Double(promptTokens) / Double(max(1, seenTokens)))
    let delay = elapsed * share
    if delay >= Double(Self.retryDelayMax) { return Self.retryDelayMax }
    return max(Self.retryDelayMin, Nanoseconds(delay))
  }
}
