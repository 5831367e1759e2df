// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// What one poller has sent. Counted on its thread, read by any.
final class LaneStatistics: Sendable {
  let tokens = Atomic<UInt64>(0)
  let messages = Atomic<UInt64>(0)
  let generationsBegun = Atomic<UInt64>(0)
  let generationsEnded = Atomic<UInt64>(0)
  /// Generations that wait to be resumed now.
  let generationsDetached = Atomic<Int>(0)
  var hasDetached: Bool { generationsDetached.load(ordering: .relaxed) > 0 }

  /// Tokens went out in one message.
  func noteSent(tokens count: Int) {
    tokens.add(UInt64(count), ordering: .relaxed)
    messages.add(1, ordering: .relaxed)
  }
}
