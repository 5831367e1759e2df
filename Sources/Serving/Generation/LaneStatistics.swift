// SPDX-License-Identifier: Apache-2.0

internal import Step
internal import Support
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
  private let sendLatency = Mutex(LatencyHistogram())

  /// Tokens went out in one message; `latency` after their step, if they did not have to wait.
  func noteSent(tokens count: Int, latency: Nanoseconds?) {
    tokens.add(UInt64(count), ordering: .relaxed)
    messages.add(1, ordering: .relaxed)
    if let latency { sendLatency.withLock { $0.add(latency) } }
  }

  var sendLatencies: LatencyHistogram { sendLatency.withLock { $0 } }
}
